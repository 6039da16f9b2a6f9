/**
 * The person's own microphone and camera. Enters: which device is wanted. Leaves: a live track, or a
 * CaptureRefused with what to do about it. Never sends a track anywhere and never shows one.
 */

/** `headline` and `message` are ready to be shown. */
export class CaptureRefused extends Error {
  constructor(
    readonly headline: string,
    detail: string,
  ) {
    super(detail);
  }
}

export type Kind = "microphone" | "camera";

/** @param deviceId empty: the browser's default */
export async function open(kind: Kind, deviceId: string): Promise<MediaStreamTrack> {
  // The declaration says it is always there; on an insecure origin it is not.
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (!devices) {
    throw new CaptureRefused(
      `No ${kind} on this address`,
      `Browsers give a ${kind} to HTTPS pages only. Open this device's https address, and see /trust if the browser warns.`,
    );
  }
  const ask = (choice: MediaTrackConstraints) =>
    devices.getUserMedia(kind === "microphone" ? { audio: { ...VOICE, ...choice } } : { video: { ...FACE, ...choice } });
  try {
    // Chromium takes its default for a device that is only preferred; one that is gone is no reason for silence.
    const exact = deviceId === "" ? ask({}) : ask({ deviceId: { exact: deviceId } });
    const stream = await exact.catch((error: unknown) => {
      if (deviceId !== "" && error instanceof DOMException && ABSENT.has(error.name)) return ask({});
      throw error;
    });
    const track = stream.getTracks()[0];
    if (!track) throw new DOMException("no track", "NotFoundError");
    return track;
  } catch (error) {
    throw refusal(kind, error);
  }
}

export interface Choices {
  microphones: MediaDeviceInfo[];
  speakers: MediaDeviceInfo[];
}

/** What can be chosen; names are empty until the person has allowed a capture once. */
export async function choices(): Promise<Choices> {
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  const all = devices ? await devices.enumerateDevices() : [];
  return {
    microphones: all.filter((device) => device.kind === "audioinput"),
    speakers: all.filter((device) => device.kind === "audiooutput"),
  };
}

export function onDevicesChanged(changed: () => void): void {
  (navigator.mediaDevices as MediaDevices | undefined)?.addEventListener("devicechange", changed);
}

function refusal(kind: Kind, error: unknown): CaptureRefused {
  const Kind = kind === "microphone" ? "Microphone" : "Camera";
  switch (error instanceof DOMException ? error.name : "") {
    case "NotAllowedError":
    case "SecurityError":
      return new CaptureRefused(
        `${Kind} not allowed`,
        `Allow it in the browser's settings for this page, beside the address, and try again.`,
      );
    case "NotFoundError":
    case "OverconstrainedError":
      return new CaptureRefused(`No ${kind} found`, `Plug one in, or choose another in Settings, and try again.`);
    case "NotReadableError":
    case "AbortError":
      return new CaptureRefused(`${Kind} in use`, `Another program holds it. Close that program and try again.`);
    default:
      return new CaptureRefused(`${Kind} did not start`, error instanceof Error ? error.message : String(error));
  }
}

/** No device has this id any more. */
const ABSENT: ReadonlySet<string> = new Set(["OverconstrainedError", "NotFoundError"]);

const VOICE: MediaTrackConstraints = {
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
  channelCount: { ideal: 1 },
};

const FACE: MediaTrackConstraints = {
  width: { ideal: 1280 },
  height: { ideal: 720 },
  frameRate: { ideal: 30, max: 30 },
  facingMode: "user",
};
