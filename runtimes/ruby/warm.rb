# Loads what programs load most, so that a template's page cache holds it.
%w[bigdecimal csv date digest erb fileutils json open3 openssl optparse ostruct pathname pp securerandom set socket stringio
   strscan tempfile time timeout uri yaml zlib].each { |name| require name }
puts JSON.generate('sum' => (1..10).sum, 'digest' => Digest::SHA256.hexdigest('warm')), Date.new(2024, 2, 29), rand
puts YAML.dump([1]), 'warm'.gsub(/(\w)(\w)/, '\2\1'), `true`, Time.at(0).utc.iso8601
begin
  raise 'warm'
rescue StandardError => e
  puts e.full_message
end
