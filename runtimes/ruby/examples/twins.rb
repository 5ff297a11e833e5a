# One line for each source of chance.
require 'openssl'
require 'securerandom'

puts rand(2**64)
puts Random.rand(2**64), Random.new.rand(2**64), Random.new_seed
puts (1..100).to_a.shuffle.join(',')
puts SecureRandom.hex, SecureRandom.uuid, Random.bytes(8).unpack1('H*')
puts OpenSSL::Random.random_bytes(16).unpack1('H*')
