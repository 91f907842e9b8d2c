import type { TarEntry } from '../image/layer-entry.js';

/**
 * What a layer's archive holds, in its order. After every entry of type `file` come its bytes as
 * `data` and `hole` events, together `size` bytes long, then one `end-of-file`. The bytes of `data`
 * are a view of what was pushed, valid as long as that is; where they are cut means nothing.
 */
export type TarEvent =
  | { readonly type: 'entry'; readonly entry: TarEntry }
  | { readonly type: 'data'; readonly bytes: Buffer }
  | { readonly type: 'hole'; readonly length: number }
  | { readonly type: 'end-of-file' };
