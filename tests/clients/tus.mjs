/** Uploads a file by tus-js-client: node tus.mjs ENDPOINT TOKEN FILE; tells where it is in the end. */
import { createReadStream } from "node:fs";
import { basename } from "node:path";
import * as tus from "tus-js-client";

const [endpoint, token, path] = process.argv.slice(2);
let retries = 0;
new tus.Upload(createReadStream(path), {
  endpoint,
  headers: { Authorization: `Bearer ${token}` },
  metadata: { filename: basename(path), filetype: "image/png" },
  retryDelays: [0, 100, 200, 500, 1000, 2000],
  onShouldRetry: () => (retries += 1) < 100,
  onError: (error) => {
    throw error;
  },
  onSuccess: ({ lastResponse }) =>
    console.log(JSON.stringify({ location: lastResponse.getHeader("Content-Location"), retries })),
}).start();
