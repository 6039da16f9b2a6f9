import type { Status } from "./Status";
import type { TalkState } from "./TalkState";

export type Event =
  | { type: "status"; status: Status }
  | { type: "talk"; talk: TalkState }
  | { type: "viewers"; count: number }
  | { type: "fault"; part: "video" | "audio" | "talk" | "recording"; message: string | null }
  | { type: "callFailed"; message: string };
