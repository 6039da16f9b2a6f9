/**
 * The owner's part of the service's HTTP interface. Enters: what the panel wants. Leaves: the generated types, or an
 * ApiFailure with a sentence to show. Never touches the DOM or media.
 */
import { call } from "./api";
import type { Certificate } from "./generated/Certificate";
import type { Changes } from "./generated/Changes";
import type { Configuration } from "./generated/Configuration";
import type { DeviceHealth } from "./generated/DeviceHealth";
import type { Devices } from "./generated/Devices";
import type { LogLine } from "./generated/LogLine";
import type { PasswordRemoval } from "./generated/PasswordRemoval";
import type { PasswordRequest } from "./generated/PasswordRequest";
import type { Passwords } from "./generated/Passwords";
import type { Present } from "./generated/Present";
import type { Sessions } from "./generated/Sessions";

export const sessions = () => call<Sessions>("GET", "sessions");
export const endSession = (id: string) => call<void>("DELETE", `sessions/${encodeURIComponent(id)}`);
export const passwords = () => call<Passwords>("GET", "passwords");
export const setPassword = (request: PasswordRequest) => call<Passwords>("POST", "passwords", request);
export const removePassword = (request: PasswordRemoval) => call<Passwords>("POST", "passwords/remove", request);
export const device = () => call<DeviceHealth>("GET", "device");
export const devices = () => call<Devices>("GET", "devices");
export const certificate = () => call<Certificate | null>("GET", "certificate");
export const configuration = () => call<Configuration>("GET", "configuration");
export const steering = () => call<Present>("GET", "steering");
export const steer = (changes: Changes) => call<Present>("PATCH", "steering", changes);

/**
 * Old lines and each new one, until it is stopped; comes back by itself.
 * @param last number of the newest line that is there
 * @param lost the stream broke off; the service may have been started anew, and counts from 1 then
 */
export function log(last: () => number, heard: (line: LogLine) => void, lost: () => void): () => void {
  let source: EventSource | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const open = () => {
    source = new EventSource(`/api/v1/log/events?lines=${LINES}&after=${last()}`);
    source.onmessage = (message: MessageEvent<string>) => heard(JSON.parse(message.data) as LogLine);
    source.onerror = () => {
      source?.close();
      lost();
      timer = setTimeout(open, RETRY_MS);
    };
  };
  open();
  return () => {
    clearTimeout(timer);
    source?.close();
  };
}

const LINES = 200;
const RETRY_MS = 3000;
