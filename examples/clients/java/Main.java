import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import tasks.Adjacent;
import tasks.AdjacentKind;
import tasks.ClimbInput;
import tasks.Color;
import tasks.External;
import tasks.ExternalClass;
import tasks.Internal;
import tasks.InternalKind;
import tasks.Shapes;
import tasks.ShapesOutput;
import tasks.Tree;
import tasks.Untagged;
import tasks.Value;

/** Calls a program in Rust: java Main URL PREFIX SCHEMAS. */
public final class Main {
    private static final long PATIENCE = 30_000;

    public static void main(String[] args) throws Exception {
        try (OrkClient client = new OrkClient(args[0], args[1], Path.of(args[2]), true)) {
            // A typed input, and a typed output.
            ShapesOutput output = client.submit("shapes", shapes(), ShapesOutput.class).result(PATIENCE);
            System.out.printf("shapes %s %d %s %d %d%n", output.getText(), output.getLarge(),
                    output.getColor().toValue(), output.getDefaulted(), output.getTree().getChildren().get(0).getValue());

            // An input that the types would have rejected.
            try {
                client.submit("shapes", Map.of("text", 7), ShapesOutput.class).result(PATIENCE);
            } catch (OrkClient.JobError error) {
                System.out.println("refused " + error.outcome.getError().getKind().toValue() + " " + error.getMessage());
            }

            // The progress of a job.
            List<Double> percents = Collections.synchronizedList(new ArrayList<>());
            long steps = client.submit("climb", climb(20), Long.class, event -> {
                if (event.getData().getProgress() != null) {
                    percents.add(event.getData().getProgress());
                }
            }).result(PATIENCE);
            List<Double> rising = new ArrayList<>(percents);
            Collections.sort(rising);
            System.out.println("climbed " + steps + " " + (rising.equals(percents) && !rising.isEmpty()));

            // Cancel a job as soon as it has started.
            CountDownLatch begun = new CountDownLatch(1);
            OrkClient.Job<Long> job = client.submit("climb", climb(1_000_000), Long.class, event -> {
                if (event.getData().getProgress() != null) {
                    begun.countDown();
                }
            });
            begun.await();
            job.cancel();
            try {
                job.result(PATIENCE);
            } catch (OrkClient.JobError error) {
                System.out.println("cancelled " + error.outcome.getState().toValue());
            }
        }
    }

    private static ClimbInput climb(long steps) {
        ClimbInput input = new ClimbInput();
        input.setSteps(steps);
        return input;
    }

    private static Shapes shapes() {
        Shapes shapes = new Shapes();
        shapes.setText("Grüße");
        shapes.setFlag(true);
        shapes.setSmall(255);
        shapes.setLarge(Long.MAX_VALUE);
        shapes.setNumber(0.5);
        shapes.setRanged(100);
        shapes.setWords(List.of("a", "b"));
        Value name = new Value();
        name.stringValue = "a";
        Value number = new Value();
        number.integerValue = 1L;
        shapes.setPair(List.of(name, number));
        shapes.setCounts(Map.of("a", 1L));
        shapes.setNewtype(1.5);
        shapes.setColor(Color.DARK_GREEN);
        ExternalClass round = new ExternalClass();
        round.setName("round");
        External external = new External();
        external.externalClassValue = round;
        shapes.setExternal(external);
        Internal internal = new Internal();
        internal.setKind(InternalKind.CIRCLE);
        internal.setRadius(2.0);
        shapes.setInternal(internal);
        Value three = new Value();
        three.integerValue = 3L;
        Adjacent adjacent = new Adjacent();
        adjacent.setKind(AdjacentKind.COUNT);
        adjacent.setValue(three);
        shapes.setAdjacent(adjacent);
        Untagged untagged = new Untagged();
        untagged.stringValue = "text";
        shapes.setUntagged(untagged);
        shapes.setTree(tree(1, tree(2)));
        shapes.setAnything(Map.of("a", Collections.singletonList(null)));
        return shapes;
    }

    private static Tree tree(long value, Tree... children) {
        Tree tree = new Tree();
        tree.setValue(value);
        tree.setChildren(List.of(children));
        return tree;
    }
}
