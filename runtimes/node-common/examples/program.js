const fs = require("fs");
const _ = require("lodash");

const numbers = _.sortBy(fs.readFileSync(0, "utf8").split(/\s+/).filter(Boolean).map(Number));
console.log(numbers.join(" "));
console.log(`sum ${_.sum(numbers)}`);
fs.writeFileSync("sum.txt", `${_.sum(numbers)}\n`);
process.exitCode = 3;
