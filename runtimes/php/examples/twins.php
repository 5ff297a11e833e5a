<?php
// One line for each source of chance.

echo mt_rand(), mt_rand(), "\n";
echo rand(), rand(), "\n";
printf("%.17f\n", lcg_value());
echo implode(',', (function () { $all = range(1, 100); shuffle($all); return $all; })()), "\n";
echo (new Random\Randomizer())->getInt(0, PHP_INT_MAX), "\n";
echo random_int(0, PHP_INT_MAX), "\n";
echo bin2hex(random_bytes(16)), "\n";
echo bin2hex(openssl_random_pseudo_bytes(16)), "\n";
echo uniqid('', true), "\n";
