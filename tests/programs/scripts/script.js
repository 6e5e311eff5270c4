// SPDX-License-Identifier: GPL-2.0-or-later
const fs = require('fs'), cp = require('child_process'), { Worker, isMainThread } = require('worker_threads');
console.log([3, 1, 2].sort(), JSON.stringify({ a: 2n ** 70n + '' }), require('crypto').createHash('sha256').update('abc').digest('hex'));
let s = 0; for (let i = 0; i < 1e6; i++) s += i % 7; console.log(s);
fs.writeFileSync('out.node', 'text'); console.log(fs.readFileSync('out.node', 'utf8'), fs.readdirSync('.').sort());
console.log(cp.execSync('echo child').toString().trim()); Promise.resolve(5).then(v => console.log('promise', v));
const server = require('net').createServer(c => { c.end('from the server'); server.close(); }).listen(0, '127.0.0.1', () =>
  require('net').connect(server.address().port, '127.0.0.1').on('data', d => console.log(d.toString())));
setTimeout(() => console.log('timer'), 20); new Worker('require("worker_threads").parentPort.postMessage(7)', { eval: true }).on('message', m => console.log('worker', m));
