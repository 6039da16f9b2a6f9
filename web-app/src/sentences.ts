/**
 * What the service says, as a person reads it. Enters: its words, written for logs and programs as well. Leaves: one plain
 * sentence. Never hides what it does not know: such words are shown as they came.
 */

/** The reason after what the headline says already, without the parser's part of it. */
export function plain(words: string): string {
  const bare = words
    .trim()
    .replace(/^Nothing is recorded: /, "")
    .replace(/^recording (stopped|did not begin): /, "")
    .replace(/^The body is not what this call takes: /, "")
    .replace(/^"([^"]*)" must be /, "“$1” cannot be used: it must be ")
    // A TOML parser draws the line, with a mark under the place, before it says what it is about.
    .replace(/^TOML parse error at line.*\n(?:.*\|.*\n)*/, "")
    // As a terminal marks what can be typed.
    .replace(/`([^`\n]*)`/g, "“$1”")
    // A file by its name, wherever it is kept.
    .replace(/^(cannot show or play )(?:file|image):[^:\n]*\/([^:\n/]+)/, "$1$2")
    .replace(/,? at line \d+,? column \d+/g, "");
  return sentence(bare);
}

/** Begins with a capital letter and ends as a sentence does. */
export function sentence(words: string): string {
  const text = words.trim().replace(/\s*\n\s*/g, " ");
  if (text === "") return "";
  // A value such as camera:auto keeps its spelling.
  const begin = /^[a-z]+:\S/.test(text) ? text.charAt(0) : text.charAt(0).toUpperCase();
  return begin + text.slice(1) + (/[.!?…”]$/.test(text) ? "" : ".");
}

/** Why signalling started no call, or took no connection: what is at its limit, and that nobody has to do anything. */
export function declined(words: string): { headline: string; detail: string } {
  const viewers = /^too many viewers \((\d+)\)/.exec(words)?.[1];
  if (viewers !== undefined) {
    return {
      headline: "No place free",
      detail: `The device already has as many viewers as it serves (${viewers}). The call starts by itself when one of them leaves.`,
    };
  }
  const peers = /^too many peers \((\d+)\)/.exec(words)?.[1];
  if (peers !== undefined) {
    return {
      headline: "No place free",
      detail: `The device already has as many connections as it takes (${peers}). The call starts by itself when one of them ends.`,
    };
  }
  return { headline: "No call possible", detail: `${sentence(words)} Trying again.` };
}

/** @param talks this page's person talks: the fault is about that person then */
export function fault(words: string, talks: boolean): string {
  return sentence(talks ? words.replace(/^the talker is not heard/, "you are not heard") : words);
}
