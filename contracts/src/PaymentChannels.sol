// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {IDatanetRegistry} from "./interfaces/IDatanetRegistry.sol";
import {IModelRegistry, Terms} from "./interfaces/IModelRegistry.sol";
import {INodeStaking} from "./interfaces/INodeStaking.sol";
import {ClaimTerms, IParams, Windows} from "./interfaces/IParams.sol";
import {IPaymentChannels} from "./interfaces/IPaymentChannels.sol";
import {ChannelConfig, ClaimRecord, EpochClaim, Item} from "./interfaces/Types.sol";
import {ClaimSplit, Line} from "./lib/ClaimSplit.sol";
import {Hashes} from "./lib/Hashes.sol";
import {Signatures} from "./lib/Signatures.sol";
import {SumTree} from "./lib/SumTree.sol";
import {Tokens} from "./lib/Tokens.sol";
import {Wired} from "./lib/Wired.sol";

/// @dev See {IPaymentChannels}.
contract PaymentChannels is IPaymentChannels, EIP712, Wired {
    using SafeERC20 for IERC20;
    using Tokens for IERC20;
    using MessageHashUtils for bytes32;

    /* CONSTANTS AND STORAGE */

    uint256 private constant ITEMS_MAX = 256;
    uint256 private constant ADAPTERS_MAX = 32;
    uint64 private constant STOP_MAX = 30 days;

    IERC20 public immutable token;
    IParams public immutable params;
    INodeStaking public immutable staking;
    IModelRegistry public immutable models;
    IDatanetRegistry public immutable datanets;
    /// @inheritdoc IPaymentChannels
    address public immutable guardian;
    uint64 private immutable _withdrawDelayMin;
    uint64 private immutable _withdrawDelayMax;
    uint64 private immutable _withdrawPeriod;

    /// @notice The contract that can release claims.
    address public rewards;
    /// @inheritdoc IPaymentChannels
    uint64 public stoppedUntil;
    uint128 private _paidIn;
    uint128 private _refunded;
    uint128 private _withdrawn;
    uint128 private _claimed;
    uint128 private _released;

    mapping(bytes32 id => Channel) private _channels;
    /// @inheritdoc IPaymentChannels
    mapping(bytes32 id => mapping(bytes32 adapterId => uint128)) public laneClaimed;
    mapping(bytes32 id => Withdrawal) private _withdrawals;
    /// @inheritdoc IPaymentChannels
    mapping(bytes32 id => uint256) public refundNonceOf;
    /// @inheritdoc IPaymentChannels
    mapping(address node => uint64) public nextSeq;
    /// @inheritdoc IPaymentChannels
    mapping(address node => mapping(uint64 seq => bytes32)) public claimOf;

    /* CONSTRUCTOR */

    constructor(
        IERC20 token_,
        IParams params_,
        INodeStaking staking_,
        IModelRegistry models_,
        IDatanetRegistry datanets_,
        address guardian_
    ) EIP712("OpenLedgerPayments", "2") {
        Windows memory windows = params_.windows();
        if (guardian_ == address(0)) revert ZeroAddress();
        token = token_;
        params = params_;
        staking = staking_;
        models = models_;
        datanets = datanets_;
        guardian = guardian_;
        (_withdrawDelayMin, _withdrawDelayMax) = (windows.withdrawDelayMin, windows.withdrawDelayMax);
        _withdrawPeriod = windows.withdrawPeriod;
    }

    /// @inheritdoc IPaymentChannels
    function wire(address rewards_) external once {
        _checkRole(rewards_);
        rewards = rewards_;
        emit RolesWired(rewards_);
    }

    /* NEW MONEY */

    /// @inheritdoc IPaymentChannels
    function stopDeposits(uint64 duration) external {
        if (msg.sender != guardian) revert NotGuardian(msg.sender);
        if (stoppedUntil != 0) revert StoppedBefore(stoppedUntil);
        if (duration == 0 || duration > STOP_MAX) revert BadDuration(duration, STOP_MAX);
        _stopUntil(uint64(block.timestamp) + duration);
    }

    /// @inheritdoc IPaymentChannels
    function resumeDeposits() external {
        if (msg.sender != guardian && msg.sender != params.governor()) revert NotGuardian(msg.sender);
        if (block.timestamp >= stoppedUntil) revert NotStopped();
        _stopUntil(uint64(block.timestamp));
    }

    /* DEPOSITS */

    /// @inheritdoc IPaymentChannels
    function open(ChannelConfig calldata config, uint128 amount) external returns (bytes32 id) {
        return _open(config, amount);
    }

    /// @inheritdoc IPaymentChannels
    function openWithPermit(
        ChannelConfig calldata config,
        uint128 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external returns (bytes32 id) {
        token.tryPermit(amount, deadline, v, r, s);
        return _open(config, amount);
    }

    /// @inheritdoc IPaymentChannels
    function topUp(ChannelConfig calldata config, uint128 amount) external {
        _topUp(config, amount);
    }

    /// @inheritdoc IPaymentChannels
    function topUpWithPermit(
        ChannelConfig calldata config,
        uint128 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        token.tryPermit(amount, deadline, v, r, s);
        _topUp(config, amount);
    }

    /* WITHDRAWALS AND REFUNDS */

    /// @inheritdoc IPaymentChannels
    function startWithdraw(ChannelConfig calldata config, uint128 amount) external {
        bytes32 id = channelId(config);
        uint64 pendingUntil = _pendingUntil(id);
        _requirePayer(config);
        if (block.timestamp <= pendingUntil) revert WithdrawalPending(id, pendingUntil);
        // Capped, not refused: a claim that is mined just before this call must not make it fail.
        amount = _min(amount, _left(id));
        if (amount == 0) revert NothingToWithdraw(id);
        uint64 readyAt = uint64(block.timestamp) + config.withdrawDelay;
        _withdrawals[id] = Withdrawal({amount: amount, readyAt: readyAt});
        emit WithdrawStarted(id, amount, readyAt);
    }

    /// @inheritdoc IPaymentChannels
    function finishWithdraw(ChannelConfig calldata config) external {
        bytes32 id = channelId(config);
        Withdrawal memory withdrawal = _withdrawals[id];
        uint64 pendingUntil = _pendingUntil(id);
        // A claim during the delay may have taken a part of what was announced.
        uint128 amount = _min(withdrawal.amount, _left(id));
        _requirePayer(config);
        if (amount == 0) revert NothingToWithdraw(id);
        if (block.timestamp < withdrawal.readyAt) revert WithdrawalNotReady(withdrawal.readyAt);
        if (block.timestamp > pendingUntil) revert WithdrawalExpired(pendingUntil);
        delete _withdrawals[id];
        _channels[id].deposit -= amount;
        _withdrawn += amount;
        emit WithdrawFinished(id, amount);
        token.safeTransfer(config.payer, amount);
    }

    /// @inheritdoc IPaymentChannels
    function refund(ChannelConfig calldata config, uint128 amount, uint256 nonce, bytes calldata signature) external {
        bytes32 id = channelId(config);
        uint128 left = _left(id);
        uint128 pending = _withdrawals[id].amount;
        _requireNode(config.node, Hashes.ofRefund(id, amount, nonce), signature);
        if (nonce != refundNonceOf[id]) revert BadRefundNonce(nonce, refundNonceOf[id]);
        if (amount == 0) revert ZeroAmount();
        if (amount > left) revert RefundTooLarge(amount, left);
        refundNonceOf[id] = nonce + 1;
        _channels[id].deposit -= amount;
        // Otherwise the rest of the announced amount could be taken, without a new delay, from a later deposit.
        if (pending > 0) _withdrawals[id].amount = pending - _min(pending, amount);
        _refunded += amount;
        emit Refunded(id, amount, nonce);
        token.safeTransfer(config.payer, amount);
    }

    /* CLAIMS */

    /// @inheritdoc IPaymentChannels
    function claim(
        EpochClaim calldata epochClaim,
        bytes32[] calldata adapters,
        Item[] calldata items,
        bytes calldata nodeSignature
    ) external {
        // The values of the epoch that is claimed, not of the epoch in which this transaction is mined.
        ClaimTerms memory terms = params.claimTermsAt(epochClaim.epoch);
        Line[] memory lines = _linesOf(adapters);
        _requireClaimable(epochClaim, terms.minStake);
        if (items.length > ITEMS_MAX) revert TooMany("items", items.length, ITEMS_MAX);
        _requireNode(epochClaim.node, Hashes.ofEpochClaim(epochClaim), nodeSignature);
        ClaimRecord memory record = _recordOf(epochClaim);
        nextSeq[record.node] = record.seq + 1;
        record.itemsRoot = _charge(record.node, epochClaim.itemsHash, items, lines);
        ClaimSplit.split(record, terms, lines, datanets);
        // slither-disable-next-line incorrect-equality: a sum of this claim, not a balance
        if (record.gross == 0) revert NothingClaimed();
        // Only the hash is stored. Later calls bring the record along, and {Claimed} is where they find it.
        claimOf[record.node][record.seq] = keccak256(abi.encode(record));
        _claimed += record.gross;
        emit Claimed(record.node, record.seq, record);
    }

    /// @inheritdoc IPaymentChannels
    function release(ClaimRecord calldata record) external {
        bytes32 stored = claimOf[record.node][record.seq];
        if (msg.sender != rewards) revert NotRewards(msg.sender);
        if (stored != keccak256(abi.encode(record))) revert UnknownClaim(record.node, record.seq);
        delete claimOf[record.node][record.seq];
        _released += record.gross;
        emit Released(record.node, record.seq, record.gross);
        token.safeTransfer(msg.sender, record.gross);
    }

    /* VIEWS */

    /// @inheritdoc IPaymentChannels
    function channelOf(bytes32 id) external view returns (uint128 deposit, uint128 claimed) {
        return (_channels[id].deposit, _channels[id].claimed);
    }

    /// @inheritdoc IPaymentChannels
    function withdrawalOf(bytes32 id) external view returns (uint128 amount, uint64 readyAt) {
        // One that was not finished in time can't be finished any more.
        if (block.timestamp > _pendingUntil(id)) return (0, 0);
        return (_withdrawals[id].amount, _withdrawals[id].readyAt);
    }

    /// @inheritdoc IPaymentChannels
    function channelId(ChannelConfig calldata config) public view returns (bytes32) {
        return _hashTypedDataV4(Hashes.ofConfig(config));
    }

    /// @inheritdoc IPaymentChannels
    function domainSeparator() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    /// @inheritdoc IPaymentChannels
    function totals() external view returns (Totals memory) {
        return Totals({
            paidIn: _paidIn,
            refunded: _refunded,
            withdrawn: _withdrawn,
            escrowed: _paidIn - _refunded - _withdrawn - _claimed,
            live: _claimed - _released,
            released: _released
        });
    }

    /* DEPOSITS: INTERNALS */

    function _stopUntil(uint64 time) private {
        stoppedUntil = time;
        emit DepositsStopped(time);
    }

    /// @dev Only the payer pays in, and nobody while the guardian stops it.
    function _requireTaken(ChannelConfig calldata config) private view {
        if (block.timestamp < stoppedUntil) revert DepositsAreStopped(stoppedUntil);
        _requirePayer(config);
    }

    function _open(ChannelConfig calldata config, uint128 amount) private returns (bytes32 id) {
        id = channelId(config);
        uint128 minDeposit = params.valuesAt(_epochNow()).minDeposit;
        _checkRole(rewards);
        _requireTaken(config);
        if (config.authorizer == address(0) || config.node == address(0)) revert ZeroAddress();
        if (config.withdrawDelay < _withdrawDelayMin || config.withdrawDelay > _withdrawDelayMax) {
            revert BadWithdrawDelay(config.withdrawDelay, _withdrawDelayMin, _withdrawDelayMax);
        }
        if (amount < minDeposit) revert DepositTooSmall(amount, minDeposit);
        // A channel that was emptied before any claim has deposit 0 and can be opened again. Its refund nonce goes on,
        // so that no old refund signature is valid for the new deposit.
        if (_channels[id].deposit != 0) revert ChannelExists(id);
        _channels[id].deposit = amount;
        _paidIn += amount;
        emit ChannelOpened(id, config.payer, config.node, config, amount);
        token.pull(amount);
    }

    function _topUp(ChannelConfig calldata config, uint128 amount) private {
        bytes32 id = channelId(config);
        _requireTaken(config);
        if (_channels[id].deposit == 0) revert UnknownChannel(id);
        if (amount == 0) revert ZeroAmount();
        _channels[id].deposit += amount;
        _paidIn += amount;
        emit ToppedUp(id, amount);
        token.pull(amount);
    }

    /* CLAIMS: INTERNALS */

    /// @dev Charge each item to its lane and add it to its adapter's line. Returns the root of the items' tree, in
    /// which a skipped item has the amount 0.
    function _charge(address node, bytes32 itemsHash, Item[] calldata items, Line[] memory lines)
        private
        returns (bytes32)
    {
        bytes32 domain = _domainSeparatorV4();
        (bytes32[] memory leaves, uint128[] memory sums) = SumTree.room(items.length);
        uint256 least = 0;
        for (uint256 i = 0; i < items.length; ++i) {
            Item calldata item = items[i];
            if (item.adapter >= lines.length) revert AdapterNotNamed(i, item.adapter);
            if (item.adapter < least) revert ItemsNotAscending(i);
            least = item.adapter;
            Line memory line = lines[least];
            // Same as channelId(item.config), with the domain separator computed once for all items.
            bytes32 id = domain.toTypedDataHash(Hashes.ofConfig(item.config));
            leaves[i] = Hashes.ofItem(id, line.adapterId, item.config.authorizer, item.from, item.to);
            // Skipped instead of reverted, so that one bad item cannot block the payment of all others.
            SkipCode code = _take(item, id, line.adapterId, node, domain);
            if (code != SkipCode.None) {
                emit Skipped(id, line.adapterId, code);
                continue;
            }
            sums[i] = item.to - item.from;
            line.gross += sums[i];
        }
        bytes32 given = Hashes.ofWords(leaves, items.length);
        if (given != itemsHash) revert ItemsMismatch(itemsHash, given);
        return SumTree.rootOf(leaves, sums);
    }

    /// @dev Charge one item, or return the first reason to skip it. Written at once: the same item again in this claim
    /// no longer starts at what was claimed.
    function _take(Item calldata item, bytes32 id, bytes32 adapterId, address node, bytes32 domain)
        private
        returns (SkipCode)
    {
        Channel storage channel = _channels[id];
        (uint128 from, uint128 to) = (item.from, item.to);
        if (item.config.node != node) return SkipCode.OtherNode;
        if (from != laneClaimed[id][adapterId]) return SkipCode.NotFromClaimed;
        if (to <= from) return SkipCode.NothingNew;
        if (to > item.maxClaimable) return SkipCode.OverVoucher;
        // A channel that was never opened has deposit 0, so its items end here.
        if (to - from > channel.deposit - channel.claimed) return SkipCode.OverDeposit;
        // Last, because recovering a signer costs more than all other checks together. A bad signature has signer 0,
        // which is no authorizer: {open} refuses it.
        bytes32 digest = domain.toTypedDataHash(Hashes.ofVoucher(id, adapterId, item.maxClaimable));
        if (Signatures.signerOf(digest, item.signature) != item.config.authorizer) return SkipCode.BadVoucher;
        channel.claimed += to - from;
        laneClaimed[id][adapterId] = to;
        return SkipCode.None;
    }

    function _recordOf(EpochClaim calldata epochClaim) private view returns (ClaimRecord memory record) {
        (record.node, record.seq, record.epoch) = (epochClaim.node, epochClaim.seq, epochClaim.epoch);
        (record.claimedAt, record.claimedBlock) = (uint64(block.timestamp), uint64(block.number));
    }

    /// @dev One empty line for each adapter. Reverts if an adapter is not registered, or if it was retired so long ago
    /// that its bond is free. Id 0 is the base model without an adapter. It has no owner and no Datanets, so its terms
    /// stay empty.
    function _linesOf(bytes32[] calldata adapters) private view returns (Line[] memory lines) {
        if (adapters.length > ADAPTERS_MAX) revert TooMany("adapters", adapters.length, ADAPTERS_MAX);
        lines = new Line[](adapters.length);
        for (uint256 a = 0; a < adapters.length; ++a) {
            if (a > 0 && adapters[a] <= adapters[a - 1]) revert AdaptersNotAscending(adapters[a]);
            lines[a].adapterId = adapters[a];
            if (adapters[a] == 0) continue;
            Terms memory terms = models.termsOf(adapters[a]);
            if (terms.claimableUntil != 0 && block.timestamp >= terms.claimableUntil) {
                revert AdapterNotClaimable(adapters[a], terms.claimableUntil);
            }
            lines[a].terms = terms;
        }
    }

    function _requireClaimable(EpochClaim calldata epochClaim, uint128 minStake) private view {
        uint64 current = _epochNow();
        uint64 seq = nextSeq[epochClaim.node];
        uint128 bonded = staking.bondedOf(epochClaim.node);
        // Only the current epoch and the one before it, so that a node cannot choose among older values.
        if (epochClaim.epoch != current && epochClaim.epoch + 1 != current) {
            revert BadEpoch(epochClaim.epoch, current);
        }
        if (epochClaim.seq != seq) revert BadSeq(epochClaim.seq, seq);
        if (bonded < minStake) revert StakeTooSmall(bonded, minStake);
    }

    /* CHECKS AND SMALL READS */

    /// @dev A signer of the node that sends the transaction itself needs no signature in addition.
    function _requireNode(address node, bytes32 structHash, bytes calldata signature) private view {
        if (staking.isSigner(node, msg.sender)) return;
        address signer = Signatures.signerOf(_hashTypedDataV4(structHash), signature);
        if (signer == address(0) || !staking.isSigner(node, signer)) revert NotSigner(node, signer);
    }

    function _requirePayer(ChannelConfig calldata config) private view {
        if (msg.sender != config.payer) revert NotPayer(config.payer, msg.sender);
    }

    /// @dev Never underflows: an item above what is left is skipped, and withdrawals and refunds take at most what is
    /// left.
    function _left(bytes32 id) private view returns (uint128) {
        return _channels[id].deposit - _channels[id].claimed;
    }

    /// @dev The last second at which a withdrawal can be finished, or 0 if there is none.
    function _pendingUntil(bytes32 id) private view returns (uint64) {
        Withdrawal memory withdrawal = _withdrawals[id];
        // slither-disable-next-line incorrect-equality: 0 stands for no withdrawal
        return withdrawal.amount == 0 ? 0 : withdrawal.readyAt + _withdrawPeriod;
    }

    function _epochNow() private view returns (uint64) {
        return params.epochAt(uint64(block.timestamp));
    }

    function _min(uint128 a, uint128 b) private pure returns (uint128) {
        return a < b ? a : b;
    }
}
