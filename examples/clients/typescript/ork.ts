// A client of ork: submits jobs over RabbitMQ, waits for outcomes, follows and cancels jobs. Copy it and change it.
//
// It needs `amqplib`, and `tasks`, which json-schema-to-typescript generates from `schema export --format draft7`.
import { randomUUID } from "node:crypto";
import { connect, type ChannelModel, type ConfirmChannel, type ConsumeMessage } from "amqplib";
import type { OrkEvent, OrkOutcome, Tasks } from "./tasks.js";

/** The job failed or was cancelled: see `outcome.state` and `outcome.error`. */
export class JobError extends Error {
  constructor(readonly outcome: OrkOutcome) {
    super(outcome.error?.message ?? outcome.state);
  }
}

/** The options of a client. With `schemas`, the output of `schema export`, messages name the schema of their input. */
export interface Options {
  prefix?: string;
  events?: boolean;
  schemas?: { properties: Record<string, { "x-ork-fingerprint"?: string }> };
}

/** One connection. */
export class Client {
  private readonly jobs = new Map<string, Job<unknown>>();

  private constructor(
    private readonly connection: ChannelModel,
    private readonly channel: ConfirmChannel,
    private readonly queue: string,
    private readonly options: Options,
  ) {}

  static async connect(url: string, options: Options = {}): Promise<Client> {
    const connection = await connect(url);
    const channel = await connection.createConfirmChannel();
    const { queue } = await channel.assertQueue("", { exclusive: true });
    if (options.events) await channel.bindQueue(queue, `${options.prefix ?? "ork"}.events`, "job.#");
    const client = new Client(connection, channel, queue, options);
    await channel.consume(queue, (message) => client.receive(message), { noAck: true });
    return client;
  }

  /** Submits a job: RabbitMQ has it when this resolves. */
  async submit<T extends keyof Tasks>(task: T, input: Tasks[T]["input"]): Promise<Job<Tasks[T]["output"]>> {
    return (await this.send(task, input)) as Job<Tasks[T]["output"]>;
  }

  /** Cancels a job; a `JobError` if it has ended before. */
  async cancel(job: Job<unknown>): Promise<void> {
    await (await this.send("ork.cancel", { job: job.id })).result();
  }

  async close(): Promise<void> {
    await this.connection.close();
  }

  private async send(task: string, input: unknown): Promise<Job<unknown>> {
    const job = new Job<unknown>(randomUUID());
    this.jobs.set(job.id, job);
    const fingerprint = this.options.schemas?.properties[task]?.["x-ork-fingerprint"];
    this.channel.publish(this.options.prefix ?? "ork", task, Buffer.from(JSON.stringify(input)), {
      contentType: "application/json",
      persistent: true,
      mandatory: true,
      messageId: job.id,
      replyTo: this.queue,
      correlationId: job.id,
      headers: fingerprint === undefined ? {} : { "ork-schema": fingerprint },
    });
    await this.channel.waitForConfirms();
    return job;
  }

  private receive(message: ConsumeMessage | null): void {
    if (message === null) return;
    const body: unknown = JSON.parse(message.content.toString());
    if (message.properties.type === "ork.outcome") {
      const outcome = body as OrkOutcome;
      this.jobs.get(outcome.job)?.end(outcome);
      this.jobs.delete(outcome.job);
    } else {
      const event = body as OrkEvent;
      this.jobs.get(event.data.job)?.onEvent(event);
    }
  }
}

/** A job that was submitted, which returns a `T`. */
export class Job<T> {
  /** Called for each event of the job, if the client has `events` and the workers publish them. */
  onEvent: (event: OrkEvent) => void = () => {};
  /** How the job ended. */
  readonly outcome: Promise<OrkOutcome>;
  /** @internal */
  end!: (outcome: OrkOutcome) => void;

  constructor(readonly id: string) {
    this.outcome = new Promise((resolve) => (this.end = resolve));
  }

  /** The output of the task; throws a `JobError` if there is none. */
  async result(): Promise<T> {
    const outcome = await this.outcome;
    if (outcome.state !== "succeeded") throw new JobError(outcome);
    if (outcome.output_at) throw new Error(`no message carries the output: ${JSON.stringify(outcome.output_at)}`);
    return outcome.output as T;
  }
}
