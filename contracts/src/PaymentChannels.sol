// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {IDatanetRegistry} from "./interfaces/IDatanetRegistry.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {INodeStaking} from "./interfaces/INodeStaking.sol";
import {ClaimTerms, IParams, Windows} from "./interfaces/IParams.sol";
import {IPaymentChannels} from "./interfaces/IPaymentChannels.sol";
import {ChannelConfig, ClaimRecord, EpochClaim, Item, Part} from "./interfaces/Types.sol";
import {ClaimSplit, Line} from "./lib/ClaimSplit.sol";
import {Hashes} from "./lib/Hashes.sol";
import {ItemsHash} from "./lib/ItemsHash.sol";
import {Signatures} from "./lib/Signatures.sol";
import {Tokens} from "./lib/Tokens.sol";
import {Wired} from "./lib/Wired.sol";

/// @dev See {IPaymentChannels}.
contract PaymentChannels is IPaymentChannels, EIP712, Wired {
    using SafeERC20 for IERC20;
    using Tokens for IERC20;
    using MessageHashUtils for bytes32;

    uint256 private constant ITEMS_MAX = 256;
    uint256 private constant ADAPTERS_MAX = 32;

    IERC20 public immutable token;
    IParams public immutable params;
    INodeStaking public immutable staking;
    IModelRegistry public immutable models;
    IDatanetRegistry public immutable datanets;

    uint128 private _paidIn;
    uint128 private _refunded;
    uint128 private _withdrawn;
    uint128 private _claimed;
    uint128 private _released;

    mapping(bytes32 id => Channel) private _channels;
    mapping(bytes32 id => Withdrawal) private _withdrawals;
    mapping(bytes32 id => uint256) public refundNonceOf;
    mapping(address node => uint64) public nextSeq;
    mapping(address node => mapping(uint64 seq => bytes32)) public claimOf;

    constructor(
        IERC20 token_,
        IParams params_,
        INodeStaking staking_,
        IModelRegistry models_,
        IDatanetRegistry datanets_
    ) EIP712("OpenLedgerPayments", "1") {
        token = token_;
        params = params_;
        staking = staking_;
        models = models_;
        datanets = datanets_;
    }

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

    function topUp(ChannelConfig calldata config, uint128 amount) external {
        _topUp(config, amount);
    }

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

    /// @inheritdoc IPaymentChannels
    function startWithdraw(ChannelConfig calldata config, uint128 amount) external {
        bytes32 id = channelId(config);
        uint64 pendingUntil = _pendingUntil(id);
        _requirePayer(config);
        if (block.timestamp <= pendingUntil) revert WithdrawalPending(id, pendingUntil);
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
        if (pending > 0) _withdrawals[id].amount = pending - _min(pending, amount);
        _refunded += amount;
        emit Refunded(id, amount, nonce);
        token.safeTransfer(config.payer, amount);
    }

    /// @inheritdoc IPaymentChannels
    function claim(
        EpochClaim calldata epochClaim,
        bytes32[] calldata adapters,
        Item[] calldata items,
        bytes calldata nodeSignature
    ) external {
        ClaimTerms memory terms = params.claimTermsAt(epochClaim.epoch);
        Line[] memory lines = _linesOf(adapters);
        _requireClaimable(epochClaim, terms.minStake);
        _requireItems(epochClaim.itemsHash, adapters, items);
        _requireNode(epochClaim.node, Hashes.ofEpochClaim(epochClaim), nodeSignature);
        ClaimRecord memory record = _recordOf(epochClaim);
        nextSeq[record.node] = record.seq + 1;
        _charge(record, items, lines);
        ClaimSplit.split(record, terms, lines, datanets);
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

    function channelOf(bytes32 id) external view returns (uint128 deposit, uint128 claimed) {
        return (_channels[id].deposit, _channels[id].claimed);
    }

    function withdrawalOf(bytes32 id) external view returns (uint128 amount, uint64 readyAt) {
        return (_withdrawals[id].amount, _withdrawals[id].readyAt);
    }

    function channelId(ChannelConfig calldata config) public view returns (bytes32) {
        return _hashTypedDataV4(Hashes.ofConfig(config));
    }

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

    function _open(ChannelConfig calldata config, uint128 amount) private returns (bytes32 id) {
        id = channelId(config);
        Windows memory windows = params.windows();
        uint128 minDeposit = params.valuesAt(_epochNow()).minDeposit;
        _requirePayer(config);
        if (config.authorizer == address(0) || config.node == address(0)) revert ZeroAddress();
        if (config.withdrawDelay < windows.withdrawDelayMin || config.withdrawDelay > windows.withdrawDelayMax) {
            revert BadWithdrawDelay(config.withdrawDelay, windows.withdrawDelayMin, windows.withdrawDelayMax);
        }
        if (amount < minDeposit) revert DepositTooSmall(amount, minDeposit);
        if (_channels[id].deposit != 0) revert ChannelExists(id);
        _channels[id].deposit = amount;
        _paidIn += amount;
        emit ChannelOpened(id, config.payer, config.node, config, amount);
        token.pull(amount);
    }

    function _topUp(ChannelConfig calldata config, uint128 amount) private {
        bytes32 id = channelId(config);
        _requirePayer(config);
        if (_channels[id].deposit == 0) revert UnknownChannel(id);
        if (amount == 0) revert ZeroAmount();
        _channels[id].deposit += amount;
        _paidIn += amount;
        emit ToppedUp(id, amount);
        token.pull(amount);
    }

    /// @dev Take what each item is owed off its channel, and sum it by adapter. Bit i of `skipped`: item i was skipped.
    function _charge(ClaimRecord memory record, Item[] calldata items, Line[] memory lines) private {
        bytes32 domain = _domainSeparatorV4();
        for (uint256 i = 0; i < items.length; ++i) {
            Item calldata item = items[i];
            bytes32 id = domain.toTypedDataHash(Hashes.ofConfig(item.config));
            Channel storage channel = _channels[id];
            uint8 code = _faultOf(item, channel, record.node, lines.length);
            if (code == 0 && !_isSigned(item, id, domain)) code = 7;
            if (code != 0) {
                record.skipped |= 1 << i;
                emit Skipped(id, code);
                continue;
            }
            channel.claimed = item.to;
            _addParts(lines, item.parts);
        }
    }

    /// @dev Why an item is skipped, by the codes of {Skipped} below 7; 0 = none of these.
    function _faultOf(Item calldata item, Channel storage channel, address node, uint256 numAdapters)
        private
        view
        returns (uint8)
    {
        (uint128 from, uint128 to) = (item.from, item.to);
        if (item.config.node != node) return 1;
        if (from != channel.claimed) return 2;
        if (to <= from) return 3;
        if (to > item.maxClaimable) return 4;
        if (to > channel.deposit) return 5;
        return _partsFit(item.parts, to - from, numAdapters) ? 0 : 6;
    }

    function _isSigned(Item calldata item, bytes32 id, bytes32 domain) private pure returns (bool) {
        bytes32 digest = domain.toTypedDataHash(Hashes.ofVoucher(id, item.maxClaimable));
        return Signatures.signerOf(digest, item.signature) == item.config.authorizer;
    }

    function _addParts(Line[] memory lines, Part[] calldata parts) private pure {
        for (uint256 p = 0; p < parts.length; ++p) {
            Part calldata part = parts[p];
            lines[part.adapter].gross += part.amount;
        }
    }

    /// @dev Strictly ascending parts end the walk after `numAdapters` steps, however many are sent.
    function _partsFit(Part[] calldata parts, uint256 expected, uint256 numAdapters) private pure returns (bool) {
        uint256 sum = 0;
        uint256 least = 0;
        for (uint256 p = 0; p < parts.length; ++p) {
            Part calldata part = parts[p];
            uint256 adapter = part.adapter;
            if (adapter < least || adapter >= numAdapters) return false;
            least = adapter + 1;
            sum += part.amount;
        }
        return sum == expected;
    }

    function _recordOf(EpochClaim calldata epochClaim) private view returns (ClaimRecord memory record) {
        record.node = epochClaim.node;
        record.seq = epochClaim.seq;
        record.epoch = epochClaim.epoch;
        record.claimedAt = uint64(block.timestamp);
        record.itemsHash = epochClaim.itemsHash;
        record.receiptsRoot = epochClaim.receiptsRoot;
        record.count = epochClaim.count;
    }

    /// @dev An empty line for each adapter. Reverts for one that is not registered; 0 is the base model alone.
    function _linesOf(bytes32[] calldata adapters) private view returns (Line[] memory lines) {
        if (adapters.length > ADAPTERS_MAX) revert TooMany("adapters", adapters.length, ADAPTERS_MAX);
        lines = new Line[](adapters.length);
        for (uint256 a = 0; a < adapters.length; ++a) {
            if (a > 0 && adapters[a] <= adapters[a - 1]) revert AdaptersNotAscending(adapters[a]);
            lines[a].adapterId = adapters[a];
            if (adapters[a] != 0) lines[a].terms = models.termsOf(adapters[a]);
        }
    }

    function _requireClaimable(EpochClaim calldata epochClaim, uint128 minStake) private view {
        uint64 current = _epochNow();
        uint64 seq = nextSeq[epochClaim.node];
        uint128 bonded = staking.bondedOf(epochClaim.node);
        if (epochClaim.epoch != current && epochClaim.epoch + 1 != current) {
            revert BadEpoch(epochClaim.epoch, current);
        }
        if (epochClaim.seq != seq) revert BadSeq(epochClaim.seq, seq);
        if (bonded < minStake) revert StakeTooSmall(bonded, minStake);
    }

    function _requireItems(bytes32 itemsHash, bytes32[] calldata adapters, Item[] calldata items) private pure {
        if (items.length == 0) revert NoItems();
        if (items.length > ITEMS_MAX) revert TooMany("items", items.length, ITEMS_MAX);
        bytes32 given = ItemsHash.hashOf(adapters, items);
        if (given != itemsHash) revert ItemsMismatch(itemsHash, given);
    }

    function _requireNode(address node, bytes32 structHash, bytes calldata signature) private view {
        if (staking.isSigner(node, msg.sender)) return;
        address signer = Signatures.signerOf(_hashTypedDataV4(structHash), signature);
        if (signer == address(0) || !staking.isSigner(node, signer)) revert NotSigner(node, signer);
    }

    function _requirePayer(ChannelConfig calldata config) private view {
        if (msg.sender != config.payer) revert NotPayer(config.payer, msg.sender);
    }

    function _left(bytes32 id) private view returns (uint128) {
        return _channels[id].deposit - _channels[id].claimed;
    }

    /// @dev Until when a withdrawal can be finished; 0 when there is none.
    function _pendingUntil(bytes32 id) private view returns (uint64) {
        Withdrawal memory withdrawal = _withdrawals[id];
        return withdrawal.amount == 0 ? 0 : withdrawal.readyAt + params.windows().withdrawPeriod;
    }

    function _epochNow() private view returns (uint64) {
        return params.epochAt(uint64(block.timestamp));
    }

    function _min(uint128 a, uint128 b) private pure returns (uint128) {
        return a < b ? a : b;
    }
}
