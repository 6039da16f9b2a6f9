export type IceServer = { urls: Array<string>; username?: string; credential?: string };
