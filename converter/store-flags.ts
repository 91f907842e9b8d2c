import type { Command } from 'commander';
import { ThinError } from '../src/errors.js';
import type { StoreOptions } from '../src/store/open-store.js';

/** Flags of every command that reaches a registry or a store. */
export interface StoreFlags {
  to?: string;
  plainHttp?: boolean;
  caFile?: string;
  username?: string;
  passwordStdin?: boolean;
  s3Endpoint?: string;
  s3Region?: string;
  s3PathStyle?: boolean;
}

export function addStoreFlags(command: Command): Command {
  return command
    .option(
      '--to <store>',
      "store of the thin image: dir:<path>, s3://bucket/prefix or registry/repository (default: the image's own repository)",
    )
    .option('--plain-http', 'speak HTTP to the registry (automatic for localhost)')
    .option('--no-plain-http', 'speak HTTPS to a registry on localhost (automatic with --ca-file)')
    .option('--ca-file <file>', "PEM certificates to trust beside the system's")
    .option('--username <name>', 'registry user (default: ~/.docker/config.json)')
    .option('--password-stdin', 'read the registry password from standard input')
    .option('--s3-endpoint <url>', "URL of another S3 service than AWS's")
    .option('--s3-region <region>', "region of the bucket (default: AWS's usual places)")
    .option('--s3-path-style', 'bucket in the path of URLs (default with --s3-endpoint)');
}

/** @throws ThinError `invalid` if the flags contradict each other */
export async function storeOptions(flags: StoreFlags): Promise<StoreOptions> {
  const { username, passwordStdin = false } = flags;
  if ((username !== undefined) !== passwordStdin) {
    throw new ThinError(
      'invalid',
      'Cannot log in: wanted --username and --password-stdin together',
    );
  }
  return {
    registry: {
      plainHttp: flags.plainHttp,
      ca: flags.caFile,
      ...(username !== undefined && {
        credentials: { username, password: await passwordOfStdin() },
      }),
    },
    s3: { endpoint: flags.s3Endpoint, region: flags.s3Region, pathStyle: flags.s3PathStyle },
  };
}

/** What the `thin` commands need beside it is loaded only when it is asked for. */
async function passwordOfStdin(): Promise<string> {
  const { readPassword } = await import('../src/cli/connection.js');
  return await readPassword();
}
