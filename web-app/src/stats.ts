/**
 * Enters: two reports of one peer connection, the earlier one optional. Leaves: the figures a person
 * looks at. Never asks the browser for anything.
 */

export interface Figures {
  /** Picture size in pixels, such as `1280 x 720`; null before the first frame. */
  resolution: string | null;
  /** Frames per second. */
  fps: number | null;
  /** Sound and picture together, kilobits per second. */
  bitrate: number | null;
  /** Round trip on the path in use, milliseconds. */
  rtt: number | null;
  /** Packets lost since the earlier report, percent. */
  loss: number | null;
  /** Mean time a frame spent in the jitter buffer since the earlier report, milliseconds. */
  jitter: number | null;
  /** From capture to screen, milliseconds; null where the browser does not say which moment it shows, or the device has not yet. */
  latency: number | null;
  /** Codec names, picture first, such as `VP8, opus`. */
  codec: string | null;
}

/** One entry of a statistics report; browsers differ in which fields they fill. */
export type Entry = Readonly<Record<string, unknown>>;
export type Report = ReadonlyMap<string, Entry>;

export function figures(now: Report, before: Report | null): Figures {
  const inbound = [...now.values()].filter((entry) => entry["type"] === "inbound-rtp");
  const video = inbound.find((entry) => entry["kind"] === "video");
  const audio = inbound.find((entry) => entry["kind"] === "audio");
  const streams = [video, audio].filter((entry) => entry !== undefined);

  const gained = (entry: Entry, key: string): number => {
    const earlier = before?.get(String(entry["id"]));
    return Math.max(0, (number(entry, key) ?? 0) - ((earlier && number(earlier, key)) ?? 0));
  };
  const sum = (key: string): number => streams.reduce((total, entry) => total + gained(entry, key), 0);

  const seconds = elapsedSeconds(streams[0], before);
  const lost = sum("packetsLost");
  const packets = lost + sum("packetsReceived");
  const buffered = video ?? audio;
  const emitted = buffered ? gained(buffered, "jitterBufferEmittedCount") : 0;
  const width = video && number(video, "frameWidth");
  const height = video && number(video, "frameHeight");
  const roundTrip = number(selectedPair(now), "currentRoundTripTime");

  return {
    resolution: width && height ? `${width} × ${height}` : null,
    fps: video ? (number(video, "framesPerSecond") ?? (seconds ? gained(video, "framesDecoded") / seconds : null)) : null,
    bitrate: seconds ? (sum("bytesReceived") * 8) / 1000 / seconds : null,
    rtt: roundTrip === null ? null : roundTrip * 1000,
    loss: packets > 0 ? (100 * lost) / packets : null,
    jitter: buffered && emitted > 0 ? (1000 * gained(buffered, "jitterBufferDelay")) / emitted : null,
    latency: video ? latency(now, video, roundTrip ?? 0) : null,
    codec: streams.map((entry) => codecName(now, entry)).filter(Boolean).join(", ") || null,
  };
}

/**
 * The device's sender reports put its clock beside the capture time of each frame; the browser knows which frame it shows.
 * The device's clock at this moment is that of the last report, plus the time since, plus what the report was under way:
 * half a round trip. So much the figure can be wrong where one direction is slower than the other.
 */
function latency(report: Report, video: Entry, roundTripSeconds: number): number | null {
  const sent = [...report.values()].find((entry) => entry["type"] === "remote-outbound-rtp" && entry["kind"] === "video");
  const shown = number(video, "estimatedPlayoutTimestamp");
  const [now, arrived, said] = [number(video, "timestamp"), sent && number(sent, "timestamp"), sent && number(sent, "remoteTimestamp")];
  if (!shown || !now || !arrived || !said) return null;
  const deviceNow = said + (now - arrived) + (roundTripSeconds * 1000) / 2;
  // The one counts from 1900, the other from 1970.
  const result = deviceNow - (shown > SINCE_1900_MS ? shown - SINCE_1900_MS : shown);
  return result >= 0 && result < PLAUSIBLE_MS ? result : null;
}

/** All media received so far, bytes: stands still when nothing comes. */
export function receivedBytes(report: Report): number {
  const inbound = [...report.values()].filter((entry) => entry["type"] === "inbound-rtp");
  return inbound.reduce((total, entry) => total + (number(entry, "bytesReceived") ?? 0), 0);
}

function elapsedSeconds(entry: Entry | undefined, before: Report | null): number {
  const earlier = entry && before?.get(String(entry["id"]));
  if (!entry || !earlier) return 0;
  return ((number(entry, "timestamp") ?? 0) - (number(earlier, "timestamp") ?? 0)) / 1000;
}

/** The candidate pair that carries the media: named by the transport, or in Firefox marked itself. */
function selectedPair(report: Report): Entry {
  const entries = [...report.values()];
  const named = entries.find((entry) => entry["type"] === "transport")?.["selectedCandidatePairId"];
  const pairs = entries.filter((entry) => entry["type"] === "candidate-pair");
  return (
    pairs.find((pair) => pair["id"] === named) ??
    pairs.find((pair) => pair["selected"] === true) ??
    pairs.find((pair) => pair["nominated"] === true && pair["state"] === "succeeded") ??
    {}
  );
}

function codecName(report: Report, stream: Entry): string {
  const mime = report.get(String(stream["codecId"]))?.["mimeType"];
  return typeof mime === "string" ? (mime.split("/")[1] ?? "") : "";
}

/** From 1900 to 1970. */
const SINCE_1900_MS = 2_208_988_800_000;
/** What is later than that is no figure but a clock that was set. */
const PLAUSIBLE_MS = 60_000;

function number(entry: Entry, key: string): number | null {
  const value = entry[key];
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}
