/**
 * What the test images are made of. An image is built again when its recipe, or the recipe of the
 * image below it, changes: everything that decides its bytes belongs here.
 */
export type Step =
  /** Installs Debian packages, without recommended ones. */
  | { readonly debian: readonly string[] }
  /** Writes files, absolute path to text; those that begin with `#!` become executable. */
  | { readonly files: Readonly<Record<string, string>> }
  /** Runs a program of the image, as root, with the image as its root directory. */
  | { readonly command: readonly string[] };

export interface LayerRecipe {
  readonly compression: 'gzip' | 'zstd';
  readonly steps: readonly Step[];
}

/** The `config` object of an image configuration, as far as the recipes use it. */
export interface ProcessConfig {
  readonly User?: string;
  readonly ExposedPorts?: Readonly<Record<string, object>>;
  readonly Env: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly Cmd: readonly string[];
  readonly Volumes?: Readonly<Record<string, object>>;
  readonly WorkingDir?: string;
  readonly Labels?: Readonly<Record<string, string>>;
  readonly StopSignal?: string;
}

/**
 * The first layers: those of an image, a root made by mmdebstrap, or archives made by hand.
 * `release` takes the packages of the stable release alone, `updates` those with all updates: the
 * two differ as an image differs from its rebuild some months later.
 */
export type Foundation =
  | { readonly image: ImageName }
  | {
      readonly variant: 'minbase' | 'extract';
      readonly include: readonly string[];
      readonly archive: Archive;
    }
  | { readonly archives: 'torture' };

export type Archive = 'release' | 'updates';

export interface ImageRecipe {
  readonly foundation: Foundation;
  /** Seconds since 1970: no file is newer than this, and the image was created then. */
  readonly epoch: number;
  readonly archive: Archive;
  readonly layers: readonly LayerRecipe[];
  readonly config: ProcessConfig;
}

export const imageNames = [
  'busybox',
  'base',
  'base-updated',
  'python',
  'python-updated',
  'node',
  'nginx',
  'torture',
  'science',
  'many-files',
  'large-layers',
  'postgres',
  'r',
] as const;

export type ImageName = (typeof imageNames)[number];

/** For measurements only, and built when one asks for them. */
const measuredImageNames: readonly ImageName[] = [
  'science',
  'many-files',
  'large-layers',
  'postgres',
  'r',
];

/** The images of the tests. */
export const testedImageNames = imageNames.filter((name) => !measuredImageNames.includes(name));

const firstEpoch = 1_735_689_600; // 2025-01-01
const updatedEpoch = 1_748_736_000; // 2025-06-01
const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const bashConfig: ProcessConfig = { Env: [path], Cmd: ['bash'] };

function debianBase(archive: Archive, epoch: number): ImageRecipe {
  return {
    foundation: { variant: 'minbase', include: [], archive },
    epoch,
    archive,
    layers: [],
    config: bashConfig,
  };
}

const server = `import http.server
import json
import numpy


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"sum": int(numpy.arange(100).sum())}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)


http.server.HTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
`;

const pythonConfig: ProcessConfig = {
  User: 'app',
  ExposedPorts: { '8000/tcp': {} },
  Env: [path, 'LANG=C.UTF-8', 'PYTHONUNBUFFERED=1'],
  Cmd: ['python3'],
  WorkingDir: '/app',
  Labels: { 'org.opencontainers.image.title': 'python' },
};

const pythonPackages = [
  'python3',
  'python3-numpy',
  'python3-pil',
  'python3-cryptography',
  'python3-lxml',
  'python3-sqlalchemy',
];

/** Packages, a layer that only removes, and an application under its own user. */
function python(updated: boolean): ImageRecipe {
  const archive = updated ? 'updates' : 'release';
  return {
    foundation: { image: updated ? 'base-updated' : 'base' },
    epoch: updated ? updatedEpoch : firstEpoch,
    archive,
    config: pythonConfig,
    layers: [
      gzipLayer({ debian: [...pythonPackages, updated ? 'python3-yaml' : 'python3-requests'] }),
      gzipLayer({ command: ['sh', '-c', 'rm -rf /usr/share/doc/python3* /usr/share/man/man1'] }),
      gzipLayer(
        {
          command: ['useradd', '--system', '--uid', '900', '--user-group', '--no-log-init', 'app'],
        },
        {
          files: {
            '/app/server.py': updated ? server.replace('arange(100)', 'arange(1000)') : server,
            '/app/settings.json': `${JSON.stringify({ updated })}\n`,
            ...(updated ? { '/app/added.txt': 'new in this version\n' } : { '/app/old.txt': '' }),
          },
        },
        // A large file that both versions have, with an insertion in the middle of the second:
        // cutting by content finds it again behind the insertion, cutting at fixed offsets does not.
        {
          command: [
            'sh',
            '-c',
            `base64 /usr/bin/perl | head -c 3000000 > /app/model.txt${
              updated ? ' && sed -i "20000i an inserted line" /app/model.txt' : ''
            }`,
          ],
        },
        { command: ['sh', '-c', 'install -d -o app -g app /app/state && ln -s state /app/data'] },
      ),
    ],
  };
}

/** The largest, for measurements: SciPy comes with a compiler. About 270 MB, 900 MB extracted. */
const science: ImageRecipe = {
  foundation: { image: 'base' },
  epoch: firstEpoch,
  archive: 'release',
  layers: [gzipLayer({ debian: ['python3-numpy'] }), gzipLayer({ debian: ['python3-scipy'] })],
  config: { Env: [path, 'LANG=C.UTF-8'], Cmd: ['python3'] },
};

/** A database whose cluster is made, for first starts: a server and a client of many files. */
const postgres: ImageRecipe = {
  foundation: { image: 'base' },
  epoch: firstEpoch,
  archive: 'release',
  layers: [gzipLayer({ debian: ['postgresql'] })],
  config: { User: 'postgres', Env: [path, 'LANG=C.UTF-8'], Cmd: ['postgres'] },
};

/** A language of many small files and a few large ones, without its compiler. */
const r: ImageRecipe = {
  foundation: { image: 'base' },
  epoch: firstEpoch,
  archive: 'release',
  layers: [gzipLayer({ debian: ['r-base-core'] })],
  config: { Env: [path, 'LANG=C.UTF-8'], Cmd: ['R'] },
};

const nodeStart = `#!/bin/sh
set -e
[ "$#" -gt 0 ] || set -- node
exec "$@"
`;

/** A layer with thousands of small files, as `npm install` makes them. */
const node: ImageRecipe = {
  foundation: { image: 'base' },
  epoch: firstEpoch,
  archive: 'release',
  layers: [
    gzipLayer({ debian: ['nodejs'] }),
    gzipLayer({ debian: ['npm', 'webpack', 'eslint'] }),
    gzipLayer(
      {
        files: {
          '/usr/local/bin/start.sh': nodeStart,
          '/srv/app/package.json': '{ "name": "app", "version": "1.0.0", "main": "main.js" }\n',
          '/srv/app/main.js': "console.log(require('acorn').version, process.version);\n",
        },
      },
      { command: ['ln', '-s', '/usr/share/nodejs', '/srv/app/node_modules'] },
    ),
  ],
  config: {
    User: '1000:1000',
    Env: [path, 'NODE_PATH=/usr/share/nodejs'],
    Entrypoint: ['/usr/local/bin/start.sh'],
    Cmd: ['node', 'main.js'],
    WorkingDir: '/srv/app',
  },
};

/** Two more copies of the node image's 21 000 small files, each file with a line of its own. */
const manyFiles: ImageRecipe = {
  foundation: { image: 'node' },
  epoch: firstEpoch,
  archive: 'release',
  layers: [
    gzipLayer({
      command: [
        'sh',
        '-c',
        `mkdir /srv/copies && for copy in 1 2; do
           cp -a /usr/share/nodejs /srv/copies/$copy
           find /srv/copies/$copy -type f -print0 | xargs -0 -n 500 sh -c \
             'for file; do echo "// $file" >> "$file"; done' -
         done`,
      ],
    }),
  ],
  config: node.config,
};

/** A layer of 128 MiB that looks like the weights of a model: a quarter of its bytes says little. */
function weights(seed: number): LayerRecipe {
  const program = `srand(${seed}); for (1 .. 128) {
    print pack("L*", map { int(rand(2 ** 26)) } 1 .. 262144) }`;
  return gzipLayer({
    command: ['sh', '-c', `perl -e '${program}' > /srv/weights-${seed}`],
  });
}

/** Four layers that hardly compress. */
const largeLayers: ImageRecipe = {
  foundation: { image: 'base' },
  epoch: firstEpoch,
  archive: 'release',
  layers: [1, 2, 3, 4].map(weights),
  config: bashConfig,
};

const nginxSite = `server {
  listen 127.0.0.1:8080 default_server;
  root /usr/share/site;
}
`;

/** zstd layers on a gzip base, a file with capabilities, a stop signal of its own. */
const nginx: ImageRecipe = {
  foundation: { image: 'base' },
  epoch: firstEpoch,
  archive: 'release',
  layers: [
    { compression: 'zstd', steps: [{ debian: ['nginx-light', 'iputils-ping', 'libcap2-bin'] }] },
    {
      compression: 'zstd',
      steps: [
        { command: ['rm', '/etc/nginx/sites-enabled/default'] },
        {
          files: {
            '/etc/nginx/conf.d/site.conf': nginxSite,
            '/usr/share/site/index.html': '<!doctype html><title>thinfs</title>It works.\n',
          },
        },
        { command: ['sh', '-c', 'rm -rf /usr/share/doc /usr/share/man && mkdir /usr/share/doc'] },
        { command: ['setcap', 'cap_net_bind_service,cap_net_raw=+ep', '/usr/bin/ping'] },
      ],
    },
  ],
  config: {
    ExposedPorts: { '8080/tcp': {} },
    Env: [path],
    Entrypoint: ['nginx'],
    Cmd: ['-g', 'daemon off;'],
    Volumes: { '/var/cache/nginx': {} },
    StopSignal: 'SIGQUIT',
  },
};

/** The smallest image that runs: one static program. */
const busybox: ImageRecipe = {
  foundation: { variant: 'extract', include: ['busybox-static'], archive: 'release' },
  epoch: firstEpoch,
  archive: 'release',
  layers: [
    gzipLayer({ command: ['/bin/busybox', '--install', '-s', '/bin'] }),
    gzipLayer({
      files: {
        '/etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n',
        '/etc/group': 'root:x:0:\nnogroup:x:65534:\n',
      },
    }),
  ],
  config: { Env: [path], Cmd: ['sh'] },
};

/** What layers may hold that no tool of today writes. It cannot run anything. */
const torture: ImageRecipe = {
  foundation: { archives: 'torture' },
  epoch: firstEpoch,
  archive: 'release',
  layers: [],
  config: { Env: [path], Cmd: ['/top/program'] },
};

export const recipes: Readonly<Record<ImageName, ImageRecipe>> = {
  busybox,
  base: debianBase('release', firstEpoch),
  'base-updated': debianBase('updates', updatedEpoch),
  python: python(false),
  'python-updated': python(true),
  node,
  nginx,
  torture,
  science,
  'many-files': manyFiles,
  'large-layers': largeLayers,
  postgres,
  r,
};

function gzipLayer(...steps: readonly Step[]): LayerRecipe {
  return { compression: 'gzip', steps };
}
