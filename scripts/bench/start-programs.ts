import type { ImageName } from '../images/recipes.js';

/** A program whose start is measured: it ends as soon as it would be ready. */
export interface StartProgram {
  readonly image: ImageName;
  readonly words: readonly string[];
  /** Instead of the image's. */
  readonly entrypoint?: string;
}

/** Starts a server, and ends when it has answered on a port of this container, or ends. */
function answering(server: string, port: number, question: string): string[] {
  const ask = `exec 3<>/dev/tcp/127.0.0.1/${port}`;
  const script = `${server} & server=$!
    until (${ask}) 2>/dev/null; do kill -0 $server || exit 1; sleep 0.01; done
    ${ask}; printf '${question}' >&3; read -r answer <&3; echo "$answer"; kill $server`;
  return ['bash', '-c', script];
}

/** The image has no folders for what is written. */
const nginx = 'mkdir -p /var/log/nginx /var/lib/nginx; nginx -g "daemon off;"';

const database = `
  PATH=$PATH:$(echo /usr/lib/postgresql/*/bin) && cd /tmp && initdb -A trust -D data > /dev/null
  pg_ctl -w -s -D data -o "-k /tmp -c listen_addresses=" start > /dev/null
  psql -h /tmp -d postgres -tc "select 6 * 7" && pg_ctl -s -D data -m immediate stop`;

const compile = `cd /tmp && printf 'int main(void) { return 0; }' > a.c && gcc -o a a.c && ./a`;

const programs = {
  python: {
    image: 'python',
    words: ['python3', '-c', 'import numpy, sqlalchemy, lxml.etree'],
  },
  node: { image: 'node', words: [] },
  nginx: {
    image: 'nginx',
    entrypoint: '',
    words: answering(nginx, 8080, 'GET / HTTP/1.0\\r\\n\\r\\n'),
  },
  postgres: { image: 'postgres', words: ['sh', '-c', database] },
  r: { image: 'r', words: ['Rscript', '-e', 'print(summary(lm(dist ~ speed, cars))$r.squared)'] },
  gcc: { image: 'science', words: ['sh', '-c', compile] },
} as const satisfies Readonly<Record<string, StartProgram>>;

export type StartName = keyof typeof programs;

export const startPrograms: Readonly<Record<StartName, StartProgram>> = programs;
