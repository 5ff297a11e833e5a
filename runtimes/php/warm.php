<?php
// Uses what programs use most, so that a template's page cache holds it.

echo json_encode(['sum' => array_sum(range(1, 10)), 'digest' => hash('sha256', 'warm')]), "\n";
echo preg_replace('/(\w)(\w)/', '\2\1', 'warm'), (new DateTime('@0'))->format('Y'), bin2hex(random_bytes(4)), "\n";
echo file_exists(__FILE__), strtoupper('warm'), shell_exec('true'), count(get_loaded_extensions()), "\n";
try {
    throw new Exception('warm');
} catch (Exception $error) {
    echo $error->getTraceAsString(), "\n";
}
