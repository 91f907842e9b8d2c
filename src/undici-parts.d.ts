/** The modules of undici that are taken one by one (http-client.ts): it has types for all together. */

declare module 'undici/lib/api/api-request.js' {
  import type { Dispatcher } from 'undici';
  /** `this` is who sends it. */
  export default function request(
    this: Dispatcher,
    options: Dispatcher.RequestOptions,
  ): Promise<Dispatcher.ResponseData>;
}

declare module 'undici/lib/dispatcher/agent.js' {
  import { Agent } from 'undici';
  export default Agent;
}

declare module 'undici/lib/dispatcher/pool.js' {
  import { Pool } from 'undici';
  export default Pool;
}

declare module 'undici/lib/interceptor/redirect.js' {
  import { interceptors } from 'undici';

  const redirect: typeof interceptors.redirect;
  export default redirect;
}
