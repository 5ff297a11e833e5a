# frozen_string_literal: true

# The waiting interpreter: see spec/waiting-interpreter.md.
#
# Ruby opens its main script, then requires this file, then parses the script. Here it waits for an order and becomes the program
# that the order names: the file that is open is opened anew on the program's, and the script's name, which Ruby holds
# already, is written over in memory. What follows is an ordinary `ruby script.rb`. What is random is seeded after the wait.

waiting = Module.new do
  # Flags of a string whose bytes lie outside of it, and of what is known of its bytes (RString of Ruby 3.1).
  outside = 1 << 13
  known = 3 << 20

  define_singleton_method(:await) do
    socket = IO.for_fd(3, 'r+b')
    begin
      prepare
    rescue Exception => e
      socket.syswrite("error #{e.class}: #{e.message}"[0, 1000])
      exit!(1)
    end
    socket.syswrite('ready')
    order = begin
      socket.sysread(131_072)
    rescue EOFError, SystemCallError
      exit!(0)
    end
    socket.close
    become(order.split("\0", -1))
  rescue SystemCallError => e
    # An ordinary start tells it so, too: that the script cannot be opened.
    $stderr.syswrite("ruby3.1: #{e.message} (LoadError)\n")
    exit!(1)
  end

  define_singleton_method(:prepare) do
    %w[EMBERBOX_WAITING_FD EMBERBOX_WAITING_PRELOAD RUBYOPT].each { |name| ENV.delete(name) }
    $LOADED_FEATURES.delete(__FILE__)
    @memory = File.open('/proc/self/mem', 'r+b')
    @file = ObjectSpace.each_object(File).find { |file| !file.closed? && file.path == $0 }
    @names = addresses($0).filter_map do |address|
      flags, _, length, place = @memory.pread(32, address).unpack('Q4')
      [address, flags & ~known, place] if flags.anybits?(outside) && length == $0.bytesize
    end
    @room = $0.bytesize
    raise 'the main script is not open' unless @file && !@names.empty?
    GC.start
  end

  # Return where the copies of a string lie; a child looks, so that the library that tells it never becomes part of this process.
  define_singleton_method(:addresses) do |text|
    reader, writer = IO.pipe
    child = fork do
      require 'objspace'
      found = ObjectSpace.each_object(String).select { |string| string == text }
      writer.write(found.map { |string| ObjectSpace.dump(string)[/"address":"0x(\h+)"/, 1] }.join(' '))
      exit!(0)
    end
    writer.close
    list = reader.read.split.map { |address| address.to_i(16) }
    reader.close
    Process.wait(child)
    list
  end

  define_singleton_method(:become) do |(_, folder, count, name, *rest)|
    count = count.to_i - 1
    Dir.chdir(folder) unless folder.empty?
    ARGV.replace(rest.take(count).map { |text| text.force_encoding(Encoding.default_external) })
    rest.drop(count).each do |pair|
      key, _, value = pair.partition('=')
      ENV[key] = value
    end
    exec(['ruby3.1', 'ruby3.1'], name, *ARGV) if name.bytesize >= @room

    @file.reopen(name, 'rb')
    @names.each do |address, flags, place|
      @memory.pwrite("#{name}\0", place)
      @memory.pwrite([flags].pack('Q'), address)
      @memory.pwrite([name.bytesize].pack('Q'), address + 16)
    end
    @memory.close
    Random.srand
  end
end
waiting.await
