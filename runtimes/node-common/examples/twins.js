const crypto = require("crypto");
const _ = require("lodash");
const { v1, v4 } = require("uuid");

console.log("Math.random", Math.random());
console.log("lodash", _.random(2 ** 52), _.sampleSize(_.range(1e6), 2).join(" "));
console.log("uuid.v1", v1());
console.log("uuid.v4", v4());
console.log("crypto.randomUUID", crypto.randomUUID());
console.log("crypto.randomBytes", crypto.randomBytes(16).toString("hex"));
