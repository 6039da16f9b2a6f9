import type { Role } from "./Role";

export type Access = { role: Role | null; open: boolean; needsSetup: boolean };
