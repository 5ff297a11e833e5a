puts 'before'
$stdout.flush
nil.upcase
