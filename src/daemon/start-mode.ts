/** When a program starts whose image is pulled in full: when its tree is known, or when all is here. */
export const startModes = ['early', 'complete'] as const;
export type StartMode = (typeof startModes)[number];
