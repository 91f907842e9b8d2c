import { request } from 'node:http';
import { text } from 'node:stream/consumers';

/** Values of the metrics by name and labels, as they stand on the page. */
export async function metricsOf(page: { socketPath: string } | { port: number }) {
  const body = await new Promise<string>((resolve, reject) => {
    const asked = request({ ...page, path: '/metrics' }, (response) => {
      text(response).then(resolve, reject);
    });
    asked.on('error', reject).end();
  });
  const values = new Map<string, number>();
  for (const line of body.split('\n')) {
    const sample = /^([a-z0-9_:]+(?:\{(?:[a-z_]+="[^"]*",?)+\})?) ([-+0-9.e]+|NaN|[+-]Inf)$/i.exec(
      line,
    );
    if (sample) values.set(sample[1] ?? '', Number(sample[2]));
    else if (line !== '' && !/^# (HELP|TYPE) /.test(line)) throw new Error(`no metric: ${line}`);
  }
  return values;
}
