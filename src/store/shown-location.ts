/** A store's location for people: without user, password and query, which may be a signature. */
export function shownLocation(location: string): string {
  if (!/^[A-Za-z0-9+.-]+:\/\//.test(location)) return location;
  return location.replace(/\/\/[^/@]*@/, '//').replace(/\?.*$/s, '');
}
