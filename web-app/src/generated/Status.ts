import type { Access } from "./Access";
import type { IceServer } from "./IceServer";

export type Status = {
  version: string;
  name: string;
  access: Access;
  deviceId: string | null;
  iceServers: Array<IceServer>;
  video: boolean;
  audio: boolean;
  inboundVideo: boolean;
};
