/**
 * The sign that the turn has come to somebody who stood in line, for who looks elsewhere. Enters: the moment in which the device
 * has the sound. Leaves: two short tones and a shake of the phone, where the browser allows them. Never for who has not waited.
 */

/** @param speaker where it is heard; empty: the browser's default */
export async function callToTheAir(speaker: string): Promise<void> {
  navigator.vibrate?.(SHAKE_MS);
  const context: AudioContext & { setSinkId?: (id: string) => Promise<void> } = new AudioContext();
  try {
    if (speaker !== "") await context.setSinkId?.(speaker);
    await Promise.race([context.resume(), wait(ALLOWED_MS)]); // where sound is not allowed it never comes
    const level = new GainNode(context, { gain: LEVEL });
    level.connect(context.destination);
    TONES_HZ.forEach((frequency, at) => {
      const tone = new OscillatorNode(context, { frequency });
      tone.connect(level);
      tone.start(context.currentTime + at * TONE_S);
      tone.stop(context.currentTime + (at + 1) * TONE_S);
    });
    await wait(TONES_HZ.length * TONE_S * 1000 + ALLOWED_MS);
  } finally {
    await context.close();
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

/** Upwards, as what begins does. */
const TONES_HZ = [660, 880];
const TONE_S = 0.12;
/** Of full scale: the microphone is open already. */
const LEVEL = 0.08;
const SHAKE_MS = [120, 80, 120];
const ALLOWED_MS = 200;
