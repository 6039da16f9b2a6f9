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
    codec: streams.map((entry) => codecName(now, entry)).filter(Boolean).join(", ") || null,
  };
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

function number(entry: Entry, key: string): number | null {
  const value = entry[key];
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}
