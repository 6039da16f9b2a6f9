/**
 * Times, dates and how long something runs, as a person reads them. Enters: milliseconds, of times since 1970. Leaves: text, in the order and with the names of the
 * month that the browser's language has, in its time zone. Always of 24 hours: that of a log and that of a list shall be compared.
 */
const HOURS = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" } as const;
const SECONDS = { ...HOURS, second: "2-digit" } as const;
const DAY = { year: "numeric", month: "short", day: "numeric" } as const;

/** A moment of today, to the second. */
export function clock(at: number, language?: string): string {
  return format(at, SECONDS, language);
}

/** A day. */
export function day(at: number, language?: string): string {
  return format(at, DAY, language);
}

/** A moment of any day, to the second. */
export function dated(at: number, language?: string): string {
  return format(at, { ...DAY, ...SECONDS }, language);
}

/** A moment in the past, to the minute; with its day where that is not the one of `now`. */
export function since(at: number, now: number, language?: string): string {
  return format(at, day(at) === day(now) ? HOURS : { ...DAY, ...HOURS }, language);
}

/** How long something has run, as a recorder shows it; of milliseconds. */
export function elapsed(ms: number): string {
  const whole = Math.max(0, Math.floor(ms / 1000));
  const [hours, minutes, seconds] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value: number) => String(value).padStart(2, "0");
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds)}` : `${minutes}:${two(seconds)}`;
}

function format(at: number, how: Intl.DateTimeFormatOptions, language: string | undefined): string {
  const name = JSON.stringify([how, language]);
  let one = made.get(name);
  if (!one) made.set(name, (one = new Intl.DateTimeFormat(language, how)));
  return one.format(at);
}

/** A log has hundreds of lines, and to make one of these takes longer than to use it. */
const made = new Map<string, Intl.DateTimeFormat>();
