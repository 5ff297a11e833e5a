<?php
echo "before\n";
$nothing = null;
$nothing->method();
