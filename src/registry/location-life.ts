/** Milliseconds for which a place is believed that does not say how long it lasts. */
const unsaidMs = 5 * 60_000;
/** Milliseconds by which clocks may differ, and a request may be on its way. */
const marginMs = 15_000;
/** Milliseconds for which any is believed at most. */
const lifeMaxMs = 24 * 60 * 60_000;
/** When a URL was signed and for how many seconds: S3 and Google's storage. */
const signatures = [
  ['X-Amz-Date', 'X-Amz-Expires'],
  ['X-Goog-Date', 'X-Goog-Expires'],
] as const;

/**
 * Milliseconds for which a URL that a registry has sent us to can be used again: signed ones say when
 * they expire (S3, Google, CloudFront, Azure).
 * @param now milliseconds since 1970
 * @returns 1 for one that has expired, or is about to
 */
export function locationLifeMs(url: URL, now: number): number {
  const ends = expiry(url.searchParams);
  if (ends === undefined || Number.isNaN(ends)) return unsaidMs;
  return Math.max(1, Math.min(ends - now - marginMs, lifeMaxMs));
}

function expiry(query: URLSearchParams): number | undefined {
  for (const [date, seconds] of signatures) {
    const [signed, lasts] = [query.get(date), query.get(seconds)];
    if (signed && lasts) return basicTime(signed) + Number(lasts) * 1000;
  }
  const expires = query.get('Expires');
  if (expires) return Number(expires) * 1000;
  const azure = query.get('se');
  return azure ? Date.parse(azure) : undefined;
}

/** Of `20261121T184500Z`. */
function basicTime(text: string): number {
  const parts = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text)?.slice(1);
  const [year, month, day, hour, minute, second] = parts ?? [];
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}
