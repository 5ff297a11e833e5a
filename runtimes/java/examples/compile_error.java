public class Main {
    public static void main(String[] arguments) {
        int answer = "forty-two";
        System.out.println(answer);
    }
}
