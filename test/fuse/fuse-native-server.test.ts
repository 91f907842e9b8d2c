import t from 'tap';
import { openFuseNativeTree } from '../../src/fuse/fuse-native-server.js';
import { testTreeServer } from './tree-server-suite.js';

testTreeServer(t, openFuseNativeTree, { times: 'milliseconds' });
