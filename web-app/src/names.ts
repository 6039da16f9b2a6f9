/**
 * Short names for people nobody knows by name. Enters: a signalling peer id, or its first eight characters, as recordings
 * keep it. Leaves: the same two words for both, so that a list of people and one of recordings speak of the same person.
 * Never claims to know somebody: the names last as long as a connection.
 */
export function shortName(peer: string): string {
  let hash = 0x811c9dc5; // FNV-1a
  for (const character of peer.slice(0, ID_LENGTH)) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193) >>> 0;
  const colour = COLOURS[hash % COLOURS.length];
  const animal = ANIMALS[Math.floor(hash / COLOURS.length) % ANIMALS.length];
  return `${colour} ${animal}`;
}

/** Whether both are one connection. */
export function isSame(peer: string | null, other: string): boolean {
  return peer !== null && other !== "" && peer.slice(0, ID_LENGTH) === other.slice(0, ID_LENGTH);
}

const ID_LENGTH = 8;
const COLOURS = ["Amber", "Azure", "Black", "Blue", "Bronze", "Copper", "Coral", "Golden", "Green", "Grey", "Indigo", "Ivory", "Red", "Silver", "Violet", "White"] as const;
const ANIMALS = [
  "Badger", "Bear", "Beaver", "Bison", "Crane", "Deer", "Dolphin", "Eagle", "Falcon", "Finch", "Fox", "Gull", "Hare", "Heron", "Ibex", "Kestrel",
  "Lark", "Lynx", "Magpie", "Marten", "Moose", "Otter", "Owl", "Panda", "Puffin", "Raven", "Robin", "Seal", "Swan", "Tern", "Wolf", "Wren",
] as const;
