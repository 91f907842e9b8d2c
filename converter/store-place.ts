/**
 * Where a blob is. The store is as far as blobs can be brought over without sending them: a whole
 * registry, a folder, a bucket. The repository is one of the registry, and empty elsewhere.
 */
export interface StorePlace {
  readonly store: string;
  readonly repository: string;
}
