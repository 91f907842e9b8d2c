import t from 'tap';
import { openRawTree } from '../../src/fuse/raw-tree-server.js';
import { testTreeServer } from './tree-server-suite.js';

testTreeServer(t, openRawTree, { times: 'nanoseconds' });
