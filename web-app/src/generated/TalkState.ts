export type TalkState = {
  you: "idle" | "waiting" | "talking";
  busy: boolean;
  waiting: number;
  revokedBy: string | null;
};
