/** What a person may do; each role includes the one before. */
export type Role = "viewer" | "talker" | "owner";
