export type ApiError = { error: { code: string; message: string } };
