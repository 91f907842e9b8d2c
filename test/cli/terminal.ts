import { type CommandResult, runCommand } from '../support/run-command.js';
import { type TestNode, thinProgram } from './test-node.js';

/** Runs what follows the keys on a terminal of 99 columns, and types the keys when one text comes. */
const program = `
import json, os, pty, sys, struct, fcntl, termios
keys, *after = [word.encode() for word in json.loads(sys.argv[1])]
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 33, 99, 0, 0))
    os.execv(sys.argv[2], sys.argv[2:])
output = b''
while True:
    try:
        piece = os.read(terminal, 4096)
    except OSError:
        break
    if not piece:
        break
    output += piece
    if keys and any(text in output for text in after):
        os.write(terminal, keys)
        keys = b''
sys.stdout.write(output.decode(errors='replace'))
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

/**
 * A `thin` command on a real terminal of 33 rows and 99 columns.
 * @param keys typed once it shows one of the texts of `after`
 * @returns all that the terminal was sent, as its output
 */
export async function onTerminal(
  node: TestNode,
  args: readonly string[],
  keys: string,
  after: readonly string[],
): Promise<CommandResult> {
  const typed = JSON.stringify([keys, ...after]);
  const words = ['-c', program, typed, process.execPath, thinProgram, ...args];
  return await runCommand('python3', words, { mayFail: true, timeoutMs: 120_000, env: node.env });
}
