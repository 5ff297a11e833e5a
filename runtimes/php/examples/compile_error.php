<?php
echo "before\n";
$number = (1 + ;
