/** Files as columns: an object for each of tens of thousands would take longer than all else of a mount. */
export interface FileColumns {
  /** 32 bytes each. */
  readonly digests: Buffer;
  /** Bytes. */
  readonly sizes: Float64Array;
}
