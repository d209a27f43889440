// SPDX-License-Identifier: Apache-2.0
// An HTTP server of Java's own library with a pool of threads: POST /NAME counts, and answers the new count.
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;

public class Counter {
  public static void main(String[] arguments) throws Exception {
    final var counts = new ConcurrentHashMap<String, Integer>();
    final var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 64);
    server.createContext("/", exchange -> {
      exchange.getRequestBody().readAllBytes();
      final byte[] text = counts.merge(exchange.getRequestURI().getPath(), 1, Integer::sum).toString().getBytes();
      exchange.sendResponseHeaders(200, text.length);
      exchange.getResponseBody().write(text);
      exchange.close();
    });
    server.setExecutor(Executors.newFixedThreadPool(10));
    server.start();
  }
}
