import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.DeserializationContext;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonDeserializer;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.JsonSerializer;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializerProvider;
import com.fasterxml.jackson.databind.module.SimpleModule;
import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import java.io.IOException;
import java.nio.file.Path;
import java.time.OffsetDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import tasks.OrkEvent;
import tasks.OrkOutcome;
import tasks.State;

/**
 * A client of ork: submits jobs over RabbitMQ, waits for outcomes, follows and cancels jobs. Copy it and change it.
 *
 * <p>It needs {@code amqp-client}, {@code jackson-databind}, and {@code tasks}, which quicktype makes of what
 * {@code schema export --format draft7} writes.
 */
public final class OrkClient implements AutoCloseable {
    private static final long PATIENCE = 30_000;

    private final ObjectMapper json = new ObjectMapper()
            .registerModule(times())
            .setSerializationInclusion(JsonInclude.Include.NON_NULL)
            .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES);
    private final Map<String, Job<?>> jobs = new ConcurrentHashMap<>();
    private final JsonNode schemas;
    private final String prefix;
    private final Connection connection;
    private final Channel channel;
    private final String queue;

    /** One connection. With {@code schemas}, from {@code schema export}, messages name the schema of their input. */
    public OrkClient(String url, String prefix, Path schemas, boolean events) throws Exception {
        this.schemas = json.readTree(schemas.toFile());
        this.prefix = prefix;
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(url);
        connection = factory.newConnection();
        channel = connection.createChannel();
        channel.confirmSelect();
        queue = channel.queueDeclare("", false, true, true, null).getQueue();
        if (events) {
            channel.queueBind(queue, prefix + ".events", "job.#");
        }
        channel.basicConsume(queue, true, (tag, message) -> receive(message), tag -> {});
    }

    /** Submits a job: RabbitMQ has it when this returns. {@code output} is the type of the task's output. */
    public <T> Job<T> submit(String task, Object input, Class<T> output) throws Exception {
        return submit(task, input, output, event -> {});
    }

    /** Submits a job; {@code onEvent} receives its events, if the client has events and the workers publish them. */
    public synchronized <T> Job<T> submit(String task, Object input, Class<T> output, Consumer<OrkEvent> onEvent)
            throws Exception {
        Job<T> job = new Job<>(UUID.randomUUID().toString(), output, onEvent);
        jobs.put(job.id, job);
        JsonNode fingerprint = schemas.path("properties").path(task).path("x-ork-fingerprint");
        AMQP.BasicProperties.Builder properties = new AMQP.BasicProperties.Builder()
                .contentType("application/json")
                .deliveryMode(2)
                .messageId(job.id)
                .replyTo(queue)
                .correlationId(job.id);
        if (fingerprint.isTextual()) {
            properties.headers(Map.of("ork-schema", fingerprint.asText()));
        }
        channel.basicPublish(prefix, task, true, properties.build(), json.writeValueAsBytes(input));
        channel.waitForConfirmsOrDie(PATIENCE);
        return job;
    }

    @Override
    public void close() throws IOException {
        connection.close();
    }

    /** Reads and writes times; {@code jackson-datatype-jsr310} does that, too. */
    private static SimpleModule times() {
        DateTimeFormatter format = DateTimeFormatter.ISO_OFFSET_DATE_TIME;
        SimpleModule module = new SimpleModule();
        module.addDeserializer(OffsetDateTime.class, new JsonDeserializer<>() {
            @Override
            public OffsetDateTime deserialize(JsonParser from, DeserializationContext context) throws IOException {
                return OffsetDateTime.parse(from.getText(), format);
            }
        });
        module.addSerializer(OffsetDateTime.class, new JsonSerializer<>() {
            @Override
            public void serialize(OffsetDateTime time, JsonGenerator to, SerializerProvider all) throws IOException {
                to.writeString(time.format(format));
            }
        });
        return module;
    }

    private void receive(Delivery message) throws IOException {
        if ("ork.outcome".equals(message.getProperties().getType())) {
            OrkOutcome outcome = json.readValue(message.getBody(), OrkOutcome.class);
            Job<?> job = jobs.remove(outcome.getJob().toString());
            if (job != null) {
                job.outcome.complete(outcome);
            }
        } else {
            OrkEvent event = json.readValue(message.getBody(), OrkEvent.class);
            Job<?> job = jobs.get(event.getData().getJob().toString());
            if (job != null) {
                job.onEvent.accept(event);
            }
        }
    }

    /** The job failed or was cancelled: see the state and the error of {@code outcome}. */
    public static final class JobError extends Exception {
        private static final long serialVersionUID = 1;
        public final transient OrkOutcome outcome;

        JobError(OrkOutcome outcome) {
            super(outcome.getError() == null ? outcome.getState().toValue() : outcome.getError().getMessage());
            this.outcome = outcome;
        }
    }

    /** A job that was submitted, which returns a {@code T}. */
    public final class Job<T> {
        public final String id;
        private final Class<T> output;
        private final Consumer<OrkEvent> onEvent;
        private final CompletableFuture<OrkOutcome> outcome = new CompletableFuture<>();

        private Job(String id, Class<T> output, Consumer<OrkEvent> onEvent) {
            this.id = id;
            this.output = output;
            this.onEvent = onEvent;
        }

        /** The output of the task; a {@link JobError} if there is none, a {@code TimeoutException} if it is late. */
        public T result(long millis) throws Exception {
            OrkOutcome ended = outcome.get(millis, TimeUnit.MILLISECONDS);
            if (ended.getState() != State.SUCCEEDED) {
                throw new JobError(ended);
            }
            if (ended.getOutputAt() != null) {
                throw new IOException("no message carries the output: " + json.writeValueAsString(ended.getOutputAt()));
            }
            return json.convertValue(ended.getOutput(), output);
        }

        /** Cancels the job; a {@link JobError} if it has ended before. */
        public void cancel() throws Exception {
            submit("ork.cancel", Map.of("job", id), Object.class).result(PATIENCE);
        }
    }
}
