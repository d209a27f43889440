# SPDX-License-Identifier: Apache-2.0
# A server of Ruby's own sockets, a thread per connection: POST /NAME counts, and answers the new count.
require 'socket'

counts, lock = Hash.new(0), Mutex.new
server = TCPServer.new('127.0.0.1', ARGV[0].to_i)
loop do
  Thread.new(server.accept) do |client|
    while (line = client.gets)
      length = 0
      while (header = client.gets) && header != "\r\n"
        length = header.split(':')[1].to_i if header =~ /\Acontent-length:/i
      end
      client.read(length)
      text = lock.synchronize { counts[line.split[1]] += 1 }.to_s
      client.write("HTTP/1.1 200 OK\r\nContent-Length: #{text.bytesize}\r\n\r\n#{text}")
    end
  ensure
    client.close
  end
end
