/**
 * The state of the device. Enters: what it tells of itself. Leaves: nothing. Never shows a figure the device did not give:
 * that reads "not told by this device".
 */
import type { DeviceHealth } from "../generated/DeviceHealth";
import { dated } from "../time";
import { element, facts, type Fact } from "./elements";

export class Device {
  readonly #problems = element("device-problems", HTMLUListElement);
  readonly #facts = element("device-facts", HTMLDListElement);

  show(health: DeviceHealth): void {
    this.#problems.replaceChildren(
      ...[...health.problems, ...health.faults].map((sentence) => {
        const item = document.createElement("li");
        item.textContent = sentence;
        return item;
      }),
    );
    facts(this.#facts, rows(health));
  }
}

function rows(health: DeviceHealth): Fact[] {
  const { throttling, load, memory } = health;
  const hottest = health.temperatures[0];
  return [
    {
      name: "Temperature",
      text: hottest ? `${hottest.celsius.toFixed(0)}\u00a0°C (${hottest.sensor})` : ABSENT,
      absent: !hottest,
      warn: (hottest?.celsius ?? 0) >= HOT,
    },
    { name: "Throttling", text: throttling ? throttled(throttling) : ABSENT, absent: !throttling, warn: throttling !== null && (throttling.now || throttling.lowVoltage === true) },
    {
      name: "Load",
      text: load ? working(load, health.processors) : ABSENT,
      title: "Tasks that want to run, averaged over 1, 5 and 15 minutes. Where there are more than processors, some wait.",
      absent: !load,
    },
    {
      name: "Memory",
      text: memory ? `${bytes(memory.available)} free of ${bytes(memory.total)}${memory.service === null ? "" : `, service ${bytes(memory.service)}`}` : ABSENT,
      share: memory ? 1 - memory.available / memory.total : null,
      warn: memory !== null && memory.available < memory.total * 0.08,
    },
    ...health.disks.map((disk) => ({
      name: disk.purpose === "state" ? "Disk" : "Recordings",
      text: `${bytes(disk.available)} free of ${bytes(disk.total)}`,
      title: disk.folder,
      share: 1 - disk.available / disk.total,
      warn: disk.available < disk.total * 0.05,
    })),
    ...(health.publishedTo === null ? [] : [{ name: "Published to", text: health.publishedTo }]),
    {
      name: "Clock",
      text: `${dated(health.time)}${SYNCHRONISED[String(health.clockSynchronised) as keyof typeof SYNCHRONISED]}`,
      warn: health.clockSynchronised === false,
    },
    { name: "Running", text: `service ${span(health.serviceUptime)}${health.uptime === null ? "" : `, device ${span(health.uptime)}`}` },
    { name: "Version", text: [`Duplex ${health.version}`, health.model, health.kernel && `Linux ${health.kernel}`].filter(Boolean).join(" · ") },
  ];
}

/** Much to do is no fault: what suffers from it is told by itself. */
export function working(load: readonly number[], processors: number): string {
  const busy = (load[0] ?? 0) > processors * 1.5 ? "; some work has to wait" : "";
  return `${load.map((value) => value.toFixed(2)).join("  ")} on ${processors} ${processors === 1 ? "processor" : "processors"}${busy}`;
}

function throttled({ now, before, lowVoltage }: NonNullable<DeviceHealth["throttling"]>): string {
  const speed = now ? "slowed down now" : before ? "none now, but since it was switched on" : "none";
  return lowVoltage ? `${speed}; supply voltage too low` : speed;
}

function bytes(value: number): string {
  return value >= 1e9 ? `${(value / 1e9).toFixed(1)}\u00a0GB` : `${(value / 1e6).toFixed(0)}\u00a0MB`;
}

function span(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}\u00a0min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours}\u00a0h ${minutes % 60}\u00a0min` : `${Math.floor(hours / 24)}\u00a0days`;
}

const ABSENT = "not told by this device";
/** Degrees Celsius; a Raspberry Pi slows down at 80. */
const HOT = 78;
const SYNCHRONISED = { true: ", set by a time server", false: ", not set by a time server yet", null: "" } as const;
