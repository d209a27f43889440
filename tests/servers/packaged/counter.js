// SPDX-License-Identifier: Apache-2.0
// An HTTP server of node's own library: POST /NAME counts, and answers the new count.
const counts = new Map();
require('http').createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    counts.set(request.url, (counts.get(request.url) || 0) + 1);
    response.end(String(counts.get(request.url)));
  });
}).listen(Number(process.argv[2]), '127.0.0.1');
