import assert from "node:assert/strict";
import { test } from "node:test";
import { figures, receivedBytes, type Entry, type Report } from "../src/stats";

function report(seconds: number, video: Entry, audio: Entry = {}): Report {
  const entries: Entry[] = [
    { id: "v", type: "inbound-rtp", kind: "video", timestamp: seconds * 1000, codecId: "c1", frameWidth: 1280, frameHeight: 720, ...video },
    { id: "a", type: "inbound-rtp", kind: "audio", timestamp: seconds * 1000, codecId: "c2", ...audio },
    { id: "c1", type: "codec", mimeType: "video/VP8" },
    { id: "c2", type: "codec", mimeType: "audio/opus" },
    { id: "t", type: "transport", selectedCandidatePairId: "p2" },
    { id: "p1", type: "candidate-pair", nominated: true, state: "succeeded", currentRoundTripTime: 0.5 },
    { id: "p2", type: "candidate-pair", nominated: true, state: "succeeded", currentRoundTripTime: 0.012 },
  ];
  return new Map(entries.map((entry) => [String(entry["id"]), entry]));
}

test("rates are over the time between two reports", () => {
  const before = report(10, { bytesReceived: 1000, packetsReceived: 100, packetsLost: 10, jitterBufferDelay: 1, jitterBufferEmittedCount: 30 });
  const now = report(
    12,
    { bytesReceived: 251_000, packetsReceived: 197, packetsLost: 13, jitterBufferDelay: 1.5, jitterBufferEmittedCount: 55, framesPerSecond: 30 },
    { bytesReceived: 10_000 },
  );
  assert.deepEqual(figures(now, before), {
    resolution: "1280 × 720",
    fps: 30,
    bitrate: 1040,
    rtt: 12,
    loss: 3,
    jitter: 20,
    latency: null,
    codec: "VP8, opus",
  });
});

test("the first report has no bitrate, and an empty one has nothing", () => {
  assert.equal(figures(report(1, { bytesReceived: 5000 }), null).bitrate, null);
  assert.deepEqual(new Set(Object.values(figures(new Map(), null))), new Set([null]));
});

test("capture to screen is told by the device's clock, whatever this computer's says", () => {
  const local = 50_000; // the browser's clock
  const device = 1_795_000_000_000; // the device's, when its report left
  const shown = device + 500 - 80 + 2_208_988_800_000;
  const now = new Map(report(local / 1000, { estimatedPlayoutTimestamp: shown }));
  assert.equal(figures(now, null).latency, null);
  // It was 6 ms under way and came 494 ms ago.
  now.set("r", { id: "r", type: "remote-outbound-rtp", kind: "video", timestamp: local - 494, remoteTimestamp: device });
  assert.equal(figures(now, null).latency, 80);
  now.set("r", { id: "r", type: "remote-outbound-rtp", kind: "video", timestamp: local - 494, remoteTimestamp: device - 3_600_000 });
  assert.equal(figures(now, null).latency, null);
});

test("received bytes are those of both streams", () => {
  assert.equal(receivedBytes(report(1, { bytesReceived: 700 }, { bytesReceived: 50 })), 750);
  assert.equal(receivedBytes(new Map()), 0);
});

test("frames per second are counted where the browser does not say them", () => {
  const now = figures(report(4, { framesDecoded: 150 }), report(2, { framesDecoded: 100 }));
  assert.equal(now.fps, 25);
});
