// SPDX-License-Identifier: GPL-2.0-or-later
import java.util.*; import java.util.concurrent.*; import java.nio.file.*;
public class Program { public static void main(String[] a) throws Exception {
    Map<String, Integer> m = new TreeMap<>(); for (int i = 0; i < 1000; i++) m.merge("k" + i % 7, i, Integer::sum); System.out.println(m);
    ExecutorService pool = Executors.newFixedThreadPool(3); List<Future<Integer>> f = new ArrayList<>();
    for (int i = 0; i < 5; i++) { int k = i; f.add(pool.submit(() -> k * k)); } for (Future<Integer> x : f) System.out.println(x.get()); pool.shutdown();
    Files.writeString(Path.of("out.java.txt"), "text\n"); System.out.println(Files.size(Path.of("out.java.txt")));
    try { Object o = null; o.hashCode(); } catch (NullPointerException e) { System.out.println("null"); }
    long s = 0; for (int i = 0; i < 2000000; i++) s += i % 3; System.out.println(s); System.gc();
    try { deep(0); } catch (StackOverflowError e) { System.out.println("overflow"); } }
    static int deep(int n) { return deep(n + 1) + 1; } }
